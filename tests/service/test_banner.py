"""What is said at the start."""

from attrs import evolve
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from aibridge.config.loader import configure, load_config
from aibridge.config.sources import ConfigSources
from aibridge.record.database import printable
from aibridge.service.banner import announce, is_secure, url_of


class AnnouncementTests(SynchronousTestCase):
    """Addresses as a reader can use them."""

    def test_addresses(self) -> None:
        """Each kind of listener is shown as what it is."""
        for address, secure, url in (
            (IPv4Address("TCP", "127.0.0.1", 80), False, "http://127.0.0.1:80"),
            (IPv4Address("TCP", "0.0.0.0", 80), False, "http://0.0.0.0:80"),
            (IPv4Address("TCP", "192.0.2.1", 443), True, "https://192.0.2.1:443"),
            (IPv6Address("TCP", "::", 80), False, "http://[::]:80"),
            (UNIXAddress("/run/x"), False, "unix:/run/x"),
        ):
            self.assertEqual(url_of(address, secure), url)

    def test_tls(self) -> None:
        """A listener has TLS by its endpoint or by the gateway's certificate, which is not the operator's site's."""
        server = load_config(None, {}).server
        self.assertFalse(is_secure(server, "listen"))
        secure = evolve(server, tls_certificate="x.pem")
        self.assertEqual([is_secure(secure, key) for key in ("listen", "admin_listen")], [True, False])

    def test_all_addresses(self) -> None:
        """A port on all addresses says so; clients on this machine get an address that they can use."""
        lines = [*announce(load_config(None, {}), {"listen": IPv6Address("TCP", "::", 80)})]
        self.assertEqual(lines[0], "gateway: http://[::]:80, on all addresses of this machine")
        self.assertIn("Claude Code, on this machine: export ANTHROPIC_BASE_URL=http://[::1]:80/anthropic", lines)

    def test_passwords(self) -> None:
        """A database is shown without its password."""
        self.assertEqual(printable("postgresql+psycopg://u:hunter2@h/db"), "postgresql+psycopg://u:***@h/db")

    def test_keys(self) -> None:
        """Each provider's line says whose key it is sent."""
        for settings, words in (
            ({}, "each client's own key"),
            ({"api_key": "k"}, "its configured key, where a client sends none"),
            ({"api_key": "k", "byok": "ignore"}, "its configured key"),
            ({"api_keys": ["k", "l"]}, "its configured keys, where a client sends none"),
            ({"byok": "refuse"}, "no key"),
        ):
            config = configure(ConfigSources({"providers": {"openai": settings}}, "a.toml"))
            lines = [line for line in announce(config, {}) if line.startswith("provider ")]
            self.assertEqual(lines, [f"provider openai: https://api.openai.com/v1, with {words}"])

    def test_pointers(self) -> None:
        """Clients are pointed at the first provider of their kind, under the name that it has."""
        table = {"providers": {name: {"type": "anthropic"} for name in ("team-a", "team-b")}}
        lines = [*announce(configure(ConfigSources(table, "a.toml")), {"listen": IPv4Address("TCP", "127.0.0.1", 80)})]
        self.assertEqual(lines[-1], "Claude Code: export ANTHROPIC_BASE_URL=http://127.0.0.1:80/team-a")

    def test_no_url(self) -> None:
        """Where clients have no URL to go to, they are not pointed anywhere."""
        lines = [*announce(load_config(None, {}), {"listen": UNIXAddress("/run/x")})]
        self.assertNotIn("export", "\n".join(lines))
