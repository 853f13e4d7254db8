"""A listener's certificate, with its chain."""

import contextlib
import re
from pathlib import Path

from OpenSSL.SSL import TLS_CLIENT_METHOD, Connection, Context, WantReadError
from twisted.trial.unittest import SynchronousTestCase

from aibridge.http.server_tls import ServerCertificate

from .certificates import make_certificate


def split(pem):
    """The key and the certificate of a file."""
    return re.findall(rb"-----BEGIN .+?-----END [A-Z ]+-----\n", pem, re.DOTALL)


def shown(certificate):
    """The certificates that a client gets, as their serial numbers."""
    server, client = Connection(certificate.getContext()), Connection(Context(TLS_CLIENT_METHOD))
    server.set_accept_state()
    client.set_connect_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(WantReadError):
                one.do_handshake()
            with contextlib.suppress(WantReadError):
                other.bio_write(one.bio_read(1 << 16))
    return [each.get_serial_number() for each in client.get_peer_cert_chain()]


class ServerCertificateTests(SynchronousTestCase):
    """Certificates in PEM files."""

    def file(self, *pems):
        path = Path(self.mktemp())
        path.write_bytes(b"".join(pems))
        return str(path)

    def test_chain(self):
        """Clients get the whole chain, from a file beside the key's as from one with the key."""
        key, own = split(make_certificate("localhost"))
        _, between = split(make_certificate("authority"))
        for certificate in (
            ServerCertificate(self.file(own, between), self.file(key)),
            ServerCertificate(self.file(key, own, between)),
        ):
            self.assertEqual(len(shown(certificate)), 2)

    def test_read_again(self):
        """New connections get the new certificate; a file that can't be used changes nothing."""
        path = Path(self.file(make_certificate("localhost")))
        certificate = ServerCertificate(str(path))
        old = shown(certificate)
        path.write_bytes(make_certificate("localhost"))
        self.assertEqual(shown(certificate), old)
        certificate.read()
        new = shown(certificate)
        self.assertNotEqual(new, old)
        path.write_bytes(b"")
        self.assertRaises(ValueError, certificate.read)
        self.assertEqual(shown(certificate), new)

    def test_errors(self):
        """No key, another's key, no certificate, no file: each is told."""
        key, own = split(make_certificate("localhost"))
        other, _ = split(make_certificate("localhost"))
        for paths, why in (
            ((self.file(own),), "private key"),
            ((self.file(own), self.file(other)), "not the certificate's"),
            ((self.file(key),), "certificate"),
            ((self.file(own), "nope"), "nope can't be read"),
            (("nope",), "can't be read"),
        ):
            error = self.assertRaises(ValueError, ServerCertificate, *paths)
            self.assertIn(why, str(error))
