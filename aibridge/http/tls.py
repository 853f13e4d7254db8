"""TLS to servers with a private authority, and to servers that demand a certificate of their client."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from OpenSSL.crypto import X509
from OpenSSL.crypto import Error as OpenSSLError
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

if TYPE_CHECKING:  # Twisted has no public path to this type
    from twisted.internet._sslverify import IOpenSSLTrustRoot

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@implementer(IPolicyForHTTPS)
class TLSPolicy:
    """Trusts the authorities of one file, and shows the certificate of another.

    :param ca_file: PEM file with the certificates of the trusted authorities; None for the platform's.
    :param client_cert: PEM file with a private key, its certificate, and the certificates between that and the
        authority; None to show no certificate.
    :raises ValueError: a file can't be used.
    """

    def __init__(self, ca_file: str | None = None, client_cert: str | None = None) -> None:
        self._trust_root = platformTrust() if ca_file is None else read_authorities(ca_file)
        self._client: PrivateCertificate | None = None
        self._chain: list[X509] = []
        if client_cert is not None:
            self._client, self._chain = read_certificate(client_cert)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Return the settings of connections to a host, whose certificate must be for that name or address."""
        options = {"extraCertChain": self._chain} if self._chain else None
        return optionsForClientTLS(
            hostname.decode("ascii"), self._trust_root, self._client, extraCertificateOptions=options
        )


def read_authorities(path: str) -> "IOpenSSLTrustRoot":
    """Return the trust root of a PEM file. Raise ValueError if it has no certificate."""
    certificates = [Certificate.loadPEM(pem) for pem in _read_certificates(path)]
    roots: IOpenSSLTrustRoot = trustRootFromCertificates(certificates)
    return roots


def read_certificate(path: str, key_path: str | None = None) -> tuple[PrivateCertificate, list[X509]]:
    """Return a PEM file's key and certificate, and the other certificates in it. Raise ValueError without them.

    :param key_path: PEM file with the key, if that is another one.
    """
    certificates = _read_certificates(path)
    try:
        own = PrivateCertificate.loadPEM(Path(key_path or path).read_bytes() + b"\n" + b"\n".join(certificates))
    except OSError as error:
        raise ValueError(f"{key_path} can't be read: {error.strerror}") from error
    except VerifyError as error:
        raise ValueError("the private key is not the certificate's") from error
    except (OpenSSLError, ValueError, TypeError) as error:
        raise ValueError("must contain the certificate's private key, without a password") from error
    return own, [Certificate.loadPEM(pem).original for pem in certificates[1:]]


def _read_certificates(path: str) -> list[bytes]:
    try:
        found = _CERTIFICATE.findall(Path(path).read_bytes())
        for pem in found:
            Certificate.loadPEM(pem)
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from error
    except (OpenSSLError, ValueError) as error:
        raise ValueError("must contain certificates in PEM") from error
    if not found:
        raise ValueError("must contain certificates in PEM")
    return found
