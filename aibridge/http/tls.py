"""TLS to servers with a private authority, and to servers that demand a certificate of their client."""

import re
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import ref

from attrs import field, frozen
from OpenSSL import SSL
from OpenSSL.crypto import X509
from OpenSSL.crypto import Error as OpenSSLError
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, ServiceID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.error import VerifyError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
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
        name = hostname.decode("ascii")
        creator = optionsForClientTLS(name, self._trust_root, self._client, extraCertificateOptions=options)
        return _Verifying(creator, name)


Verify = Callable[[SSL.Connection, X509, int, int, int], bool]
"""OpenSSL's question for each certificate of a chain: connection, certificate, error, depth, and the verdict so far."""


@implementer(IOpenSSLClientConnectionCreator)
@frozen
class _Verifying:
    """Connections to one host. Twisted's own accept a certificate that names no host at all, for any host."""

    creator: IOpenSSLClientConnectionCreator
    hostname: str
    _service: ServiceID = field(init=False)

    @_service.default
    def _make_service(self) -> ServiceID:
        try:
            ip_address(self.hostname)
        except ValueError:
            return DNS_ID(self.hostname)
        return IPAddress_ID(self.hostname)

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a connection for a protocol, which is told why a certificate is refused."""
        connection = self.creator.clientConnectionForTLS(protocol)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._verify_for(ref(protocol)))
        return connection

    def _verify_for(self, protocol: "ref[TLSMemoryBIOProtocol]") -> Verify:
        def verify(_: SSL.Connection, certificate: X509, error: int, depth: int, is_valid: int) -> bool:
            if depth:  # an authority's
                return bool(is_valid)
            try:
                verify_service_identity(extract_patterns(certificate), [self._service], [])
            except (CertificateError, VerificationError):
                if (told := protocol()) is not None:
                    told.failVerification(Failure(VerificationError([])))
                return False
            return bool(is_valid)

        return verify


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
