"""What is said at the start."""

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from aibridge.config.model import configure, load_config
from aibridge.config.sources import ConfigSources
from aibridge.record.database import printable
from aibridge.service.banner import announce, url_of


class AnnouncementTests(SynchronousTestCase):
    """Addresses as a reader can use them."""

    def test_addresses(self) -> None:
        """Each kind of listener is shown as what a client on this machine would be given."""
        for address, description, url in (
            (IPv4Address("TCP", "127.0.0.1", 80), "tcp:80", "http://127.0.0.1:80"),
            (IPv4Address("TCP", "0.0.0.0", 80), "tcp:80", "http://127.0.0.1:80"),
            (IPv4Address("TCP", "192.0.2.1", 443), "ssl:443", "https://192.0.2.1:443"),
            (IPv6Address("TCP", "::", 80), r"tcp:80:interface=\:\:", "http://[::1]:80"),
            (UNIXAddress("/run/x"), "unix:/run/x", "unix:/run/x"),
        ):
            self.assertEqual(url_of(address, description), url)

    def test_passwords(self) -> None:
        """A database is shown without its password."""
        self.assertEqual(printable("postgresql+psycopg://u:hunter2@h/db"), "postgresql+psycopg://u:***@h/db")

    def test_pointers(self) -> None:
        """Clients are pointed at the first provider of their kind, under the name that it has."""
        table = {"providers": {name: {"type": "anthropic"} for name in ("team-a", "team-b")}}
        lines = [*announce(configure(ConfigSources(table, "a.toml")), {"listen": IPv4Address("TCP", "127.0.0.1", 80)})]
        self.assertEqual(lines[-1], "Claude Code: export ANTHROPIC_BASE_URL=http://127.0.0.1:80/team-a")

    def test_no_url(self) -> None:
        """Where clients have no URL to go to, they are not pointed anywhere."""
        lines = [*announce(load_config(None, {}), {"listen": UNIXAddress("/run/x")})]
        self.assertNotIn("export", "\n".join(lines))
