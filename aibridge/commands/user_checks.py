"""The checks of ``aibridge doctor`` on the authentication of users."""

from collections.abc import Iterator
from ipaddress import ip_network

from ..config.model import Config
from ..errors import RecordingError
from ..identity.header import UNIX
from ..identity.key_store import KeyStore
from ..record import migrations
from ..record.values import utc_now
from .findings import WARNING, Finding


def check_users(config: Config) -> Iterator[Finding]:
    """Look for a gateway that lets nobody in, or everybody."""
    auth = config.auth
    if auth.mode == "none" and auth.allow_anonymous:
        mend = 'set auth.mode to "keys", "header" or "jwt", unless only trusted people reach the port'
        yield Finding(WARNING, "auth.mode: none, so everybody who reaches the port can use the configured keys", mend)
    elif auth.mode == "header":
        everywhere = [word for word in auth.trusted_proxies if word != UNIX and ip_network(word).prefixlen == 0]
        if everywhere:
            why = f"auth.trusted_proxies: {everywhere[0]} is every address, so that everybody can claim to be anybody"
            yield Finding(WARNING, why, "list the addresses of your proxies only")
    elif auth.mode == "keys" and not _has_valid_key(config.database.url):
        mend = "aibridge keys create --actor NAME, with the same --config"
        yield Finding(WARNING, "auth.mode: keys, and there is no valid key, so that nobody can use the gateway", mend)


def _has_valid_key(url: str) -> bool:
    """Return True if a key is valid now; also if nobody can tell: the check of the database says why."""
    try:
        if migrations.current(url) is None:
            return False
        migrations.require_current(url)
        return any(key.ended(utc_now()) is None for key in KeyStore(url).all())
    except RecordingError:
        return True
