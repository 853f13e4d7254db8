"""The checks of ``aibridge doctor`` on certificates: the gateway's own, and those that it shows to providers."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from ..config.model import Config
from .findings import BROKEN, OK, WARNING, Finding

_SOON = timedelta(days=14)
_RENEW = "renew it; SIGHUP makes a running gateway read it again"


def check_certificates(config: Config) -> Iterator[Finding]:
    """Look whether certificates are valid now and for a while, and whether the gateway's own has its chain."""
    if config.server.tls_certificate:
        yield from _check_file("server.tls_certificate", config.server.tls_certificate)
        yield from _check_chain("server.tls_certificate", config.server.tls_certificate)
    for provider in config.providers.values():
        if provider.client_cert:
            yield from _check_file(f"providers.{provider.name}.client_cert", provider.client_cert)


def _check_file(key: str, path: str) -> Iterator[Finding]:
    """Look at the time for which the first certificate of a file is valid."""
    certificate, now = _read(path)[0], datetime.now(UTC)
    end = certificate.not_valid_after_utc
    if end <= now:
        yield Finding(BROKEN, f"{key}: {path} expired on {end:%Y-%m-%d}", _RENEW)
    elif certificate.not_valid_before_utc > now:
        begin = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        yield Finding(BROKEN, f"{key}: {path} is not valid before {begin}", "wait, or set this machine's clock")
    elif end <= now + _SOON:
        yield Finding(WARNING, f"{key}: {path} expires on {end:%Y-%m-%d}", _RENEW)
    else:
        yield Finding(OK, f"{key}: valid until {end:%Y-%m-%d}")


def _check_chain(key: str, path: str) -> Iterator[Finding]:
    """Look for the certificates between the gateway's own and its authority.

    Many clients can't fetch them by themselves. The authority's own certificate need not be there.
    """
    certificate, *chain = _read(path)
    issuers = {each.subject for each in chain}
    if certificate.issuer != certificate.subject and certificate.issuer not in issuers:
        issuer = certificate.issuer.rfc4514_string()
        yield Finding(
            WARNING,
            f"{key}: {path} has no certificate of its issuer, {issuer}, so many clients can't verify it",
            "use the file with the whole chain, often fullchain.pem; only an issuer that clients know may be missing",
        )


def _read(path: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(Path(path).read_bytes())
