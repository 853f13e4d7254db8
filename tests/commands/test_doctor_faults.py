"""Twenty faults that an operator meets, planted one after the other: ``aibridge doctor`` finds each, and says the mend.

Those that a setting makes are in a table here, with those of certificates, users and permissions. The others have tests
of their own in `test_doctor`: a wrong key, a provider that is down, a dead proxy, a wrong clock, a missing program, a
dead MCP server and a dead issuer of tokens in one run with sockets; databases of other versions, damaged, without
rights or read-only; a full disk; ports.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.trial.unittest import TestCase

from aibridge.commands.database_checks import check_database
from aibridge.config.loader import load_config
from aibridge.identity.key_store import KeyStore
from aibridge.record import migrations

from ..record.postgresql import OnPostgreSQL
from .doctoring import DoctorTestCase, free_port

ANTHROPIC = "https://api.anthropic.com"

SETTINGS = (
    # fault, sections of the configuration, state, words of the finding and of its mend
    (
        "wrong base URL",
        {"providers__anthropic": f'base_url = "{ANTHROPIC}/v1"'},
        "warning",
        "a /v1 too many",
        "correct",
    ),
    ("unset variable", {"providers__openai": 'api_key_env = "MY_KEY"'}, "warning", "MY_KEY is not set", "set it where"),
    ("no key for anybody", {"providers__openai": 'byok = "refuse"'}, "warning", "every request gets 401", "correct"),
    ("open operator's site", {"server": 'admin_listen = "tcp:8081"'}, "warning", "which has no login", "correct"),
    ("open gateway", {"auth": "allow_anonymous = true"}, "warning", "everybody who reaches the port", "set auth.mode"),
    (
        "trust in everybody",
        {"auth": 'mode = "header"\ntrusted_proxies = ["0.0.0.0/0"]'},
        "warning",
        "everybody can claim to be anybody",
        "your proxies only",
    ),
    ("no key", {"auth": 'mode = "keys"'}, "warning", "there is no valid key", "aibridge keys create"),
    (
        "metadata of another mode",
        {"auth": 'metadata_claims = {team = "x"}'},
        "warning",
        "belongs to mode jwt",
        "correct",
    ),
    (
        "database away",
        {"database": f'url = "postgresql://u@127.0.0.1:{free_port()}/x"'},
        "broken",
        "Connection refused",
        "start the server",
    ),
    (
        "spool not writable",
        {"database": 'spool_dir = "/dev/null/spool"'},
        "broken",
        "spool_dir: /dev/null/spool",
        "set it to",
    ),
    (
        "database not writable",
        {"database": 'url = "sqlite:////nowhere/x"'},
        "broken",
        "/nowhere/x can't be written",
        "make its folder",
    ),
)

REFUSED = (
    ("unknown key", {"server": 'lisen = "8080"'}, "server.lisen: unknown; the nearest known name is listen"),
    ("wrong value", {"limits": "concurrent = 0"}, "limits.concurrent: must be at least 1"),
    ("missing key", {"auth": 'mode = "jwt"'}, "auth.issuer: missing"),
    ("variable without a database", {"database": 'url_env = "DB"'}, "database.url_env: the variable DB is not set"),
    ("missing certificate", {"server": 'tls_certificate = "no.pem"'}, "server.tls_certificate: no.pem"),
    ("missing prices", {"prices": 'file = "no.json"'}, "no.json: can't be read: No such file or directory"),
)


class SettingTests(DoctorTestCase):
    """Faults in the configuration."""

    def test_settings(self) -> None:
        """Each is found and named, with a mend, and the whole number of planted faults is at least twenty."""
        for fault, sections, state, words, mend in SETTINGS:
            with self.subTest(fault):
                self.assert_found(state, words, mend, **sections)
        elsewhere = 9  # in this module and in `test_doctor`, see above
        self.assertGreaterEqual(len(SETTINGS) + len(REFUSED) + elsewhere, 20)

    def test_refused(self) -> None:
        """A configuration that can't be used is the one finding, with the key and what is wrong with it."""
        for fault, sections, words in REFUSED:
            with self.subTest(fault):
                status, out, _ = self.examine(**sections)
                self.assertEqual(status, 1)
                self.assertIn(words, out)
                self.assertIn("mend: correct this setting", out)

    def test_no_driver(self) -> None:
        """PostgreSQL without its driver: what to install is said."""
        self.patch(sys, "modules", sys.modules | {"psycopg": None})
        status, out, _ = self.examine(database='url = "postgresql://u@h/x"')
        self.assertEqual(status, 1)
        self.assertIn("needs the package psycopg: pip install 'aibridge[postgresql]'", out)

    def test_a_valid_key(self) -> None:
        """With a key there is nothing to say about keys; a revoked one counts as none."""
        url = f"sqlite:///{self.home}/x.sqlite"
        migrations.upgrade(url)
        store = KeyStore(url)
        store.create("alice", {})
        self.assertNotIn("no valid key", self.examine(auth='mode = "keys"')[1])
        store.revoke(store.all()[0].id)
        self.assert_found("warning", "there is no valid key", auth='mode = "keys"')


class CertificateTests(DoctorTestCase):
    """Faults of the gateway's certificate."""

    def certificate(self, begin: int, end: int, issuer: str = "gateway") -> str:
        """The setting for a new certificate that is valid for these days from now on, of that issuer."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
        names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in ("gateway", issuer)]
        certificate = (
            x509.CertificateBuilder(issuer_name=names[1], subject_name=names[0], public_key=key.public_key())
            .serial_number(1)
            .not_valid_before(now + timedelta(days=begin))
            .not_valid_after(now + timedelta(days=end))
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path = Path(self.home, "cert.pem")
        path.write_bytes(secret + certificate.public_bytes(pem))
        return f'{self.sound["server"]}tls_certificate = "cert.pem"'

    def test_time(self) -> None:
        """A certificate that has expired, is not valid yet, or will expire soon."""
        self.assert_found("broken", "cert.pem expired on 20", "renew it", server=self.certificate(-90, -1))
        self.assert_found("broken", "cert.pem is not valid before 20", "clock", server=self.certificate(1, 90))
        self.assert_found("warning", "cert.pem expires on 20", "renew it", server=self.certificate(-90, 5))
        self.assertIn("server.tls_certificate: valid until 20", self.examine(server=self.certificate(-1, 90))[1])

    def test_leaf_only(self) -> None:
        """A file without the certificates between the gateway's own and its authority."""
        server = self.certificate(-1, 90, issuer="an authority")
        self.assert_found("warning", "no certificate of its issuer, CN=an authority", "fullchain.pem", server=server)


class PasswordTests(OnPostgreSQL, TestCase):
    """A database server that refuses the gateway."""

    def test_refused(self) -> None:
        """A user, a password or a database that the server does not accept; the password is not shown."""
        url = self.url.replace("//test@", "//nobody:hunter2@")
        [finding] = check_database(load_config(None, {}, {"--database": (("database", "url"), url)}))
        self.assertEqual((finding.state, "hunter2" in finding.text), ("broken", False))
        self.assertIn('role "nobody" does not exist', finding.text)
        self.assertIn("correct user, password and name of the database", finding.mend)
