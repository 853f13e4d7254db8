"""The certificate of a listener with TLS, with its chain. It can be read again while connections are open."""

from OpenSSL.SSL import Context
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions
from zope.interface import implementer

from .tls import read_certificate


@implementer(IOpenSSLContextFactory)
class ServerCertificate:
    """The certificate in a PEM file.

    :param path: the file, with the certificates between the server's own and its authority after that.
    :param key_path: PEM file with the private key, if that is not in the same file.
    :raises ValueError: a file can't be used.
    """

    def __init__(self, path: str, key_path: str | None = None) -> None:
        self._path = path
        self._key_path = key_path
        self.read()

    def read(self) -> None:
        """Read the files again, for new connections. After a ValueError the earlier certificate stays in use."""
        own, chain = read_certificate(self._path, self._key_path)
        options = CertificateOptions(own.privateKey.original, own.original, extraCertChain=chain)
        self._context: Context = options.getContext()

    def getContext(self) -> Context:
        """See `IOpenSSLContextFactory`."""
        return self._context
