"""Mode ``header``: trusted proxies, and the actors that they name."""

from ipaddress import ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from aibridge import Actor, HeaderAuthenticator
from aibridge.errors import Unauthorized
from aibridge.identity.header import parse_proxies

from .requests import left, request


def address(host: str) -> Any:
    """The other end of a connection."""
    family = IPv6Address if ":" in host else IPv4Address
    return family("TCP", host, 1)


class ProxyTests(SynchronousTestCase):
    """The addresses of trusted proxies."""

    def test_addresses(self) -> None:
        """Networks and single addresses, of both families; an IPv4 address is the same one on an IPv6 socket."""
        proxies = parse_proxies(["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "fe80::/10"])
        for host, trusted in (
            ("10.1.255.255", True),
            ("10.2.0.0", False),
            ("192.0.2.7", True),
            ("192.0.2.8", False),
            ("::ffff:10.1.2.3", True),
            ("::ffff:10.2.2.3", False),
            ("2001:db8::1", True),
            ("2001:db9::1", False),
            ("fe80::1%eth0", True),
            ("127.0.0.1", False),
        ):
            self.assertEqual(proxies.include(address(host)), trusted, host)

    def test_sockets_in_the_file_system(self) -> None:
        """Sockets in the file system are trusted only if ``unix`` is listed."""
        self.assertTrue(parse_proxies(["unix"]).include(UNIXAddress(b"/run/x")))
        self.assertFalse(parse_proxies(["0.0.0.0/0", "::/0"]).include(UNIXAddress(None)))

    def test_unknown(self) -> None:
        """A peer without an address is not trusted."""
        for peer in (None, object(), IPv4Address("TCP", "not an address", 1)):
            self.assertFalse(parse_proxies(["0.0.0.0/0", "unix"]).include(peer))

    def test_slips(self) -> None:
        """A word that is no network is refused by name; so is a network with host bits."""
        for word in ("10.0.0.1/8", "10.0.0.0/33", "proxy.example", "", "UNIX"):
            self.assertIn(word, str(self.assertRaises(ValueError, parse_proxies, [word])))

    @given(st.ip_addresses(v=4), st.ip_addresses(v=4), st.integers(0, 32))
    def test_any(self, inside: Any, other: Any, length: int) -> None:
        """An address is in a network exactly if their first bits are the same."""
        bits = 32 - length
        proxies = parse_proxies([f"{ip_address(int(inside) >> bits << bits)}/{length}"])
        self.assertTrue(proxies.include(address(str(inside))))
        self.assertEqual(proxies.include(address(str(other))), int(inside) >> bits == int(other) >> bits)


class HeaderTests(SynchronousTestCase):
    """The actor of a request."""

    def setUp(self) -> None:
        self.authenticator = HeaderAuthenticator(trusted_proxies=["127.0.0.0/8"])

    def test_trusted(self) -> None:
        """The proxy's header names the actor, and is removed."""
        made = request(("X-Forwarded-User", " alice@example.com "), ("x-api-key", "own"))
        self.assertEqual(self.authenticator.authenticate(made), Actor("alice@example.com"))
        self.assertEqual(left(made), {b"x-api-key": [b"own"]})

    def test_another_header(self) -> None:
        """Only the configured header names the actor."""
        authenticator = HeaderAuthenticator(trusted_proxies=["127.0.0.1"], header="X-Remote-User")
        made = request(("X-Forwarded-User", "mallory"), ("x-remote-user", "björn"))
        self.assertEqual(authenticator.authenticate(made), Actor("björn"))
        self.assertRaises(Unauthorized, authenticator.authenticate, request(("X-Forwarded-User", "mallory")))

    def test_from_anyone_else(self) -> None:
        """The header of another address is ignored, whatever its other headers claim."""
        made = request(("X-Forwarded-User", "alice"), ("X-Forwarded-For", "127.0.0.1"), peer=address("198.51.100.1"))
        self.assertRaises(Unauthorized, self.authenticator.authenticate, made)

    def test_unclear(self) -> None:
        """Without exactly one plain value there is no actor."""
        for values in ((), ("",), (" ",), ("alice", "bob"), ("", "alice"), ("alice, bob",), ("a\tb",), (b"\xff",)):
            made = request(*(("X-Forwarded-User", value) for value in values))
            self.assertRaises(Unauthorized, self.authenticator.authenticate, made)

    def test_metadata(self) -> None:
        """Configured headers of a trusted proxy are the actor's metadata, and are removed; a doubled one is ignored."""
        authenticator = HeaderAuthenticator(
            trusted_proxies=["127.0.0.1"],
            metadata_headers={"team": "X-Forwarded-Groups", "email": "X-Forwarded-Email", "site": "X-Site"},
        )
        made = request(
            ("X-Forwarded-User", "alice"),
            ("x-forwarded-groups", " core,ops\x7f "),
            ("X-Forwarded-Email", "a@example.com"),
            ("X-Forwarded-Email", "b@example.com"),
            ("x-api-key", "own"),
        )
        self.assertEqual(authenticator.authenticate(made), Actor("alice", {"team": "core,ops"}))
        self.assertEqual(left(made), {b"x-api-key": [b"own"]})

    def test_metadata_of_strangers(self) -> None:
        """Metadata of another address is believed no more than its name."""
        authenticator = HeaderAuthenticator(trusted_proxies=["10.0.0.1"], metadata_headers={"team": "X-Team"})
        made = request(("X-Forwarded-User", "alice"), ("X-Team", "core"))
        self.assertRaises(Unauthorized, authenticator.authenticate, made)
