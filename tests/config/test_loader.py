"""Configurations, right and wrong."""

import re
from datetime import date
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import SynchronousTestCase

from aibridge.config import loader
from aibridge.config.checks import config_warnings
from aibridge.config.loader import configure, load_config
from aibridge.config.model import Config
from aibridge.config.sources import ConfigSources
from aibridge.errors import ConfigError
from aibridge.rate_limits import Limits
from aibridge.settings import LONGEST
from aibridge.tracing.settings import TracingSettings
from aibridge.upstream.circuit_breaker import BreakerSettings

from ..http.certificates import make_certificate
from ..identity.tokens import jwks, public_jwk

HERE = "aibridge.toml"
OPEN = {"server": {"listen": "tcp:8080"}}

WRONG: list[tuple[dict[str, Any], str, str]] = [
    # the table, the key that is named, a part of what is said
    ({"servr": {}}, "servr", "the nearest known name is server"),
    ({"server": {"listn": "x"}}, "server.listn", "the nearest known name is listen"),
    ({"providers": {"openai": {"api_kee": "x"}}}, "providers.openai.api_kee", "the nearest known name is api_key"),
    ({"providers": {"openai": {"name": "x"}}}, "providers.openai.name", "unknown"),
    ({"mcp": {"a": {"url": "http://h", "alow": "x"}}}, "mcp.a.alow", "the nearest known name is allow"),
    ({"two\nlines": 1}, '"two\\nlines"', "unknown"),
    ({"otel": {"sample_ratio": 1.1}}, "otel.sample_ratio", "must be from 0 to 1"),
    ({"otel": {"endpoint": "collector:4318"}}, "otel.endpoint", "must be an http or https URL"),
    ({"log": {"format": "xml"}}, "log.format", 'must be "text" or "json"'),
    ({"log": {"level": "loud"}}, "log.level", 'must be "debug"'),
    ({"server": 5}, "server", "must be a table, not a whole number"),
    ({"providers": [1]}, "providers", "must be a table, not a list"),
    ({"providers": {"openai": date(2026, 1, 1)}}, "providers.openai", "not a date or time"),
    ({"server": {"listen": 8080}}, "server.listen", "must be a string, not a whole number"),
    ({"server": {"listen": "tcp:65536"}}, "server.listen", "no port 65536"),
    ({"server": {"listen": "carrier-pigeon:1"}}, "server.listen", "carrier-pigeon"),
    ({"server": {"listen": "\x1e"}}, "server.listen", "can't be listened on"),
    ({"server": {"listen": "off"}}, "server.listen", "can't be listened on"),
    ({"server": {"max_body_bytes": 0}}, "server.max_body_bytes", "at least 1"),
    ({"server": {"max_body_bytes": 1.0}}, "server.max_body_bytes", "must be a whole number"),
    ({"server": {"max_concurrent_requests": True}}, "server.max_concurrent_requests", "not true or false"),
    ({"server": {"head_timeout": "20"}}, "server.head_timeout", "must be a number, not a string"),
    ({"server": {"head_timeout": 0}}, "server.head_timeout", "more than 0"),
    ({"server": {"head_timeout": float("nan")}}, "server.head_timeout", "more than 0"),
    ({"server": {"body_timeout": float("inf")}}, "server.body_timeout", str(LONGEST)),
    ({"server": {"cors_origins": "*"}}, "server.cors_origins", "must be a list"),
    ({"server": {"cors_origins": ["https://a.test/"]}}, "server.cors_origins", "must be a list of origins"),
    ({"server": {"cors_origins": ["a.test", 5]}}, "server.cors_origins", "must be a list of origins"),
    ({"server": {"drain_seconds": -1}}, "server.drain_seconds", "more than 0"),
    ({"database": {"url": "nonsense"}}, "database.url", "must be a database URL"),
    ({"database": {"url": "mysql://h/db"}}, "database.url", "sqlite or postgresql+psycopg"),
    ({"record": {"prompts": 1}}, "record.prompts", "must be true or false, not a whole number"),
    ({"record": {"retention_days": -1}}, "record.retention_days", "at least 0 and at most 36500"),
    ({"record": {"retention_days": 100_000}}, "record.retention_days", "at least 0 and at most 36500"),
    ({"record": {"retention_days": 0.5}}, "record.retention_days", "must be a whole number"),
    ({"limits": {"concurrent": 0}}, "limits.concurrent", "at least 1"),
    ({"limits": {"requests_per_minute": 1.5}}, "limits.requests_per_minute", "must be a whole number"),
    ({"limits": {"requests": 1}}, "limits.requests", "the nearest known name is requests_per_minute"),
    ({"providers": {"openai": {"proxy": "https://hunter2@h:1"}}}, "providers.openai.proxy", "an HTTP proxy"),
    ({"providers": {"openai": {"ca_file": "nope.pem"}}}, "providers.openai.ca_file", "can't be read: No such file"),
    ({"mcp": {"a": {"command": "x", "transport": "stdio", "proxy": "h:1"}}}, "mcp.a.proxy", "is not for a stdio"),
    ({"providers": {"openai": {"circuit_breaker": True}}}, "providers.openai.circuit_breaker", "must be a table"),
    (
        {"providers": {"openai": {"circuit_breaker": {"timeouts": 1}}}},
        "providers.openai.circuit_breaker.timeouts",
        "the nearest known name is timeout",
    ),
    (
        {"providers": {"openai": {"circuit_breaker": {"max_requests": 0}}}},
        "providers.openai.circuit_breaker.max_requests",
        "at least 1",
    ),
    ({"prices": {"source": "web"}}, "prices.source", 'must be "genai-prices" or "off"'),
    ({"prices": {"files": "x"}}, "prices.files", "the nearest known name is file"),
    ({"prices": {"providers": {"opanai": "x"}}}, "prices.providers.opanai", "the nearest known name is openai"),
    ({"prices": {"providers": {"openai": 5}}}, "prices.providers", "must be strings"),
    ({"prices": {"factors": {"us": 1.1}}}, "prices.factors", "must have names such as"),
    ({"prices": {"factors": {"openai:speed=fast": "2"}}}, "prices.factors", "must be a number"),
    ({"prices": {"factors": {"x:speed=fast": 2}}}, 'prices.factors."x:speed=fast"', "name of a configured provider"),
    ({"prices": {"models": {"a*": {"input": 1}}}}, 'prices.models."a*".output', "missing"),
    ({"prices": {"models": {"a": {"input": -1, "output": 1}}}}, "prices.models.a.input", "at least 0"),
    ({"prices": {"models": {"a": {"input": 1, "output": 1, "from": "x"}}}}, "prices.models.a.from", "must be"),
    (
        {"prices": {"models": {"a": {"input": 1, "output": 1, "provider": "x"}}}},
        "prices.models.a.provider",
        "name of a configured provider",
    ),
    ({"auth": {"mode": "key"}}, "auth.mode", 'must be "none" or "keys" or "header" or "jwt"'),
    ({"auth": {"mode": "header"}}, "auth.trusted_proxies", "missing"),
    ({"auth": {"trusted_proxies": "10.0.0.0/8"}}, "auth.trusted_proxies", "must be a list"),
    ({"auth": {"trusted_proxies": [10]}}, "auth.trusted_proxies", "CIDRs"),
    ({"auth": {"trusted_proxies": ["10.0.0.1/8"]}}, "auth.trusted_proxies", "10.0.0.1/8 has host bits set"),
    ({"auth": {"header": "X User"}}, "auth.header", "the name of a header"),
    ({"auth": {"header": "authorization"}}, "auth.header", "a header of credentials"),
    ({"auth": {"mode": "jwt", "audience": "a", "jwks_url": "https://h/"}}, "auth.issuer", "missing"),
    ({"auth": {"mode": "jwt", "issuer": "i", "jwks_url": "https://h/"}}, "auth.audience", "missing"),
    ({"auth": {"mode": "jwt", "issuer": "i", "audience": "a"}}, "auth.jwks_url", "either jwks_url or jwks_file"),
    ({"auth": {"jwks_url": "file:///etc/passwd"}}, "auth.jwks_url", "an http or https URL"),
    ({"auth": {"jwks_file": "/nowhere/jwks.json"}}, "auth.jwks_file", "No such file"),
    ({"auth": {"jwks_file": "/dev/null"}}, "auth.jwks_file", "/dev/null"),
    ({"auth": {"actor_claim": ""}}, "auth.actor_claim", "empty"),
    ({"auth": {"leeway": -1}}, "auth.leeway", "more than 0"),
    ({"auth": {"metadata_claims": "team"}}, "auth.metadata_claims", "must be a table"),
    ({"auth": {"metadata_claims": {"te am": "x"}}}, "auth.metadata_claims", "names of letters"),
    ({"auth": {"metadata_claims": {"team": "groups..0"}}}, "auth.metadata_claims", "team must be a claim"),
    ({"auth": {"metadata_claims": {"team": 1}}}, "auth.metadata_claims", "team must be a string"),
    ({"auth": {"metadata_claims": {f"n{at}": "x" for at in range(17)}}}, "auth.metadata_claims", "at most 16"),
    ({"auth": {"metadata_headers": {"team": "x-api-key"}}}, "auth.metadata_headers", "team must not be a header of"),
    ({"providers": {"Open_AI": {}}}, "providers.Open_AI", "hyphens"),
    ({"providers": {"mine": {}}}, "providers.mine.type", 'missing; it is "anthropic" or "openai"'),
    ({"providers": {"mine": {"type": "telepathy"}}}, "providers.mine.type", '"anthropic" or "openai"'),
    ({"providers": {"mine": {"type": ["openai"]}}}, "providers.mine.type", "must be a string"),
    ({"providers": {"openai": {"base_url": "ftp://h"}}}, "providers.openai.base_url", "an http or https URL"),
    ({"providers": {"openai": {"base_url": "http://[::1"}}}, "providers.openai.base_url", "an http or https URL"),
    ({"providers": {"openai": {"base_url": "http://u:p@h"}}}, "providers.openai.base_url", "password"),
    ({"providers": {"openai": {"base_url": "http://h?a=b"}}}, "providers.openai.base_url", "query"),
    ({"providers": {"openai": {"on_disconnect": "sulk"}}}, "providers.openai.on_disconnect", '"abort" or "drain"'),
    ({"providers": {"openai": {"extra_headers": {"Host": "x"}}}}, "providers.openai.extra_headers", "Host"),
    ({"providers": {"openai": {"extra_headers": {"a b": "x"}}}}, "providers.openai.extra_headers", "name"),
    ({"providers": {"openai": {"extra_headers": {"A": "x\r\ny"}}}}, "providers.openai.extra_headers", "A must be"),
    ({"providers": {"openai": {"passthrough": ["/../admin"]}}}, "providers.openai.passthrough", "plain paths"),
    ({"providers": {"openai": {"passthrough": "/x"}}}, "providers.openai.passthrough", "must be a list"),
    ({"providers": {"openai": {"api_key": ""}}}, "providers.openai.api_key", "empty"),
    ({"providers": {"openai": {"api_key": "a\nb"}}}, "providers.openai.api_key", "visible ASCII"),
    ({"providers": {"openai": {"api_key_env": 1}}}, "providers.openai.api_key_env", "must be a string"),
    (
        {"providers": {"openai": {"api_key_file": "\0"}}},
        "providers.openai.api_key_file",
        "must be the name of a text file",
    ),
    (
        {"providers": {"openai": {"api_key": "x", "api_key_env": "X"}}},
        "providers.openai.api_key_env",
        "besides api_key",
    ),
    (
        {"providers": {"openai": {"api_keys_env": ["A"], "api_key": "x"}}},
        "providers.openai.api_key",
        "besides api_keys_env",
    ),
    ({"providers": {"openai": {"api_keys_env": "A"}}}, "providers.openai.api_keys_env", "must be a list"),
    ({"providers": {"openai": {"api_keys": ["a", "a"]}}}, "providers.openai.api_keys", "a key twice"),
    ({"providers": {"openai": {"api_keys": ["a b"]}}}, "providers.openai.api_keys", "visible ASCII"),
    ({"providers": {"openai": {"fallback": ["azure"]}}}, "providers.openai.fallback", '"azure" is no other provider'),
    ({"providers": {"openai": {"fallback": ["openai"]}}}, "providers.openai.fallback", "none is configured"),
    (
        {"providers": {"openai": {"base_url": "http://localhost:8080/v1"}}},
        "providers.openai.base_url",
        "where this gateway itself listens",
    ),
]


def made(table: dict[str, Any], environ: dict[str, str] | None = None, **options: str) -> Config:
    """The configuration of a file with that table; options are named ``server__listen`` for ``--server-listen``."""
    given = {f"--{name.replace('__', '-')}": (tuple(name.split("__")), value) for name, value in options.items()}
    return configure(ConfigSources(table, HERE, environ or {}, given))


class WrongTests(SynchronousTestCase):
    """Wrong settings."""

    def test_each_is_told_by_file_key_and_reason(self) -> None:
        """Every wrong setting is one line that names the file, the dotted key and what is wrong."""
        for table, key, reason in WRONG:
            error = self.assertRaises(ConfigError, made, table)
            self.assertEqual((error.source, error.key), (HERE, key))
            self.assertIn(reason, error.why)
            self.assertNotIn("\n", str(error))

    def test_the_command_line_is_named(self) -> None:
        """The error of a wrong option names the option, not the file's key."""
        error = self.assertRaises(ConfigError, made, {}, server__listen="tcp:x")
        self.assertEqual((error.source, error.key), ("command line", "--server-listen"))

    def test_the_environment_is_named(self) -> None:
        """The error of a wrong variable names the variable."""
        error = self.assertRaises(ConfigError, made, {}, {"OPENAI_BASE_URL": "no"})
        self.assertEqual((error.source, error.key), ("environment", "OPENAI_BASE_URL"))

    def test_proxy_of_the_environment(self) -> None:
        """A proxy that can't be used is an error where it is needed; its URL isn't shown."""
        environ = {"HTTPS_PROXY": "socks5://user:hunter2@h:1", "NO_PROXY": "direct.test"}
        error = self.assertRaises(ConfigError, made, {}, environ)
        self.assertEqual(error.source, "environment")
        self.assertIn("HTTPS_PROXY in the environment must be the URL of an HTTP proxy", str(error))
        self.assertNotIn("hunter2", str(error))
        self.assertRaises(ConfigError, made, {"providers": {}, "mcp": {"a": {"url": "https://a.test"}}}, environ)
        for url in ("http://127.0.0.1:1/v1", "https://direct.test/v1"):
            made({"providers": {"openai": {"base_url": url}}}, environ)
        made({"providers": {"openai": {"proxy": "off"}}}, environ)

    def test_clients_own_variable(self) -> None:
        """The variable that points clients to the gateway does not make it call itself."""
        error = self.assertRaises(ConfigError, made, {}, {"ANTHROPIC_BASE_URL": "http://127.0.0.1:8080/anthropic"})
        self.assertEqual((error.source, error.key), ("environment", "ANTHROPIC_BASE_URL"))

    @settings(max_examples=150, deadline=None)
    @given(
        st.recursive(
            st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["server", "providers", "openai", "listen", "url", "api_key", "passthrough"])
                    | st.text(max_size=5),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_anything_else(self, value: Any) -> None:
        """Whatever a file says, it is a configuration or a `ConfigError` of one line."""
        for table in ({"server": {"listen": value}}, {"providers": {"openai": value}}, value):
            if isinstance(table, dict):
                try:
                    made(table)
                except ConfigError as error:
                    self.assertEqual(len(str(error).splitlines()), 1)


class OpenDoorTests(SynchronousTestCase):
    """Access without authentication."""

    def test_only_this_machine(self) -> None:
        """Without authentication, the gateway is not where other machines reach it."""
        for endpoint in ("tcp:8080", "tcp:8080:interface=0.0.0.0", "tcp:8080:192.0.2.1", r"tcp:8080:interface=\:\:"):
            error = self.assertRaises(ConfigError, made, {"server": {"listen": endpoint}})
            self.assertEqual(error.key, "server.listen")
            self.assertIn("auth.allow_anonymous", error.why)

    def test_operators_site(self) -> None:
        """Where others can reach the operator's site there is a warning, whatever the authentication of requests."""
        for endpoint, warned in (("tcp:8081", 1), ("off", 0), ("tcp:8081:interface=127.0.0.1", 0), ("unix:/x", 0)):
            for auth in ({}, {"allow_anonymous": True}, {"mode": "keys"}):
                config = made({"server": {"admin_listen": endpoint}, "auth": auth})
                self.assertEqual(len(config_warnings(config)), warned, endpoint)

    def test_one_port_for_both(self) -> None:
        """The two listeners can't share a port, unless they are on different addresses; any free port may be asked for."""
        for listen, admin in (("9090", "9090"), ("127.0.0.1:9090", "tcp:9090")):
            server = {"listen": listen, "admin_listen": admin}
            error = self.assertRaises(ConfigError, made, {"server": server, "auth": {"mode": "keys"}})
            self.assertEqual(error.key, "server.admin_listen")
        for listen, admin in (
            ("127.0.0.1:9090", "127.0.0.2:9090"),
            ("tcp:0:interface=127.0.0.1",) * 2,
            ("9090", "off"),
        ):
            made({"server": {"listen": listen, "admin_listen": admin}})

    def test_not_for_workers(self) -> None:
        """Several workers can't share a socket of systemd's, or a database in memory; one process can have either."""
        self.patch(endpoints._SystemdParser, "_sddaemon", ListenFDs([7], ["gateway.socket"]))
        for server, database in (({"listen": "systemd:domain=INET:index=0"}, "sqlite:///x"), ({}, "sqlite://")):
            table = {"auth": {"mode": "keys"}, "database": {"url": database}}
            made({**table, "server": server})
            error = self.assertRaises(ConfigError, made, {**table, "server": {**server, "workers": 2}})
            self.assertEqual(error.key, "server.workers")
            self.assertIn("must be 1", error.why)

    def test_short(self) -> None:
        """A port alone, or with an address, is an endpoint too; a port alone is this machine's."""
        for short, whole in (
            ("9090", "tcp:9090:interface=127.0.0.1"),
            ("127.0.0.2:9090", "tcp:9090:interface=127.0.0.2"),
            ("localhost:9090", "tcp:9090:interface=localhost"),
        ):
            self.assertEqual(made({}, server__listen=short).server.listen, whole)
        self.assertIn("no port 99999", self.assertRaises(ConfigError, made, {}, server__listen="99999").why)
        self.assertIn("others", self.assertRaises(ConfigError, made, {}, server__listen="0.0.0.0:8080").why)

    def test_loopback(self) -> None:
        """Every form of a loopback address will do, and so will a socket in the file system."""
        for endpoint in (
            "tcp:8080:interface=127.0.0.1",
            "tcp:port=8080:interface=localhost",
            r"tcp:8080:interface=\:\:1",
            "tcp:8080:127.1.2.3",
            "unix:/run/aibridge.sock",
        ):
            self.assertEqual(made({"server": {"listen": endpoint}}).server.listen, endpoint)

    def test_on_purpose(self) -> None:
        """The operator can allow that."""
        self.assertEqual(made(OPEN | {"auth": {"allow_anonymous": True}}).server.listen, "tcp:8080")


class PrecedenceTests(SynchronousTestCase):
    """The order of sources."""

    def test_nothing_said(self) -> None:
        """With no file, no variable and no option there are two providers, without keys, on loopback."""
        config = load_config(None, {})
        self.assertEqual(config.server.listen, "tcp:8080:interface=127.0.0.1")
        self.assertEqual(
            {name: (provider.base_url, provider.api_key) for name, provider in config.providers.items()},
            {"anthropic": ("https://api.anthropic.com", None), "openai": ("https://api.openai.com/v1", None)},
        )

    def test_environment(self) -> None:
        """The SDKs' own variables reach the providers of that name; an empty one counts as unset."""
        environ = {"ANTHROPIC_API_KEY": " k1\n", "OPENAI_BASE_URL": "http://h/v1/", "OPENAI_API_KEY": ""}
        providers = made({}, environ).providers
        self.assertEqual(providers["anthropic"].api_key, "k1")
        self.assertEqual((providers["openai"].base_url, providers["openai"].api_key), ("http://h/v1", None))

    def test_file_beats_environment(self) -> None:
        """The file's settings of a provider take precedence over the environment's."""
        table = {"providers": {"openai": {"api_key": "file", "base_url": "http://file/v1"}}}
        provider = made(table, {"OPENAI_API_KEY": "env", "OPENAI_BASE_URL": "http://env/v1"}).providers["openai"]
        self.assertEqual((provider.api_key, provider.base_url), ("file", "http://file/v1"))

    def test_command_line_beats_file(self) -> None:
        """An option takes precedence over the file."""
        config = made({"database": {"url": "sqlite:///file"}}, database__url="sqlite:///option")
        self.assertEqual(config.database.url, "sqlite:///option")

    def test_only_the_files_providers(self) -> None:
        """A file that names providers has these only; one that names none has both usual ones."""
        self.assertEqual([*made({"providers": {"openai": {}}}).providers], ["openai"])
        self.assertEqual([*made({"server": {}}).providers], ["anthropic", "openai"])

    def test_a_namesake_gets_no_strange_key(self) -> None:
        """The environment's key for one kind of API is not handed to another kind that bears its name."""
        table = {"providers": {"openai": {"type": "anthropic"}}}
        self.assertIsNone(made(table, {"OPENAI_API_KEY": "k"}).providers["openai"].api_key)

    def test_own_variable(self) -> None:
        """``api_key_env`` names any variable; unset, the provider has no key of its own."""
        table = {"providers": {"mine": {"type": "openai", "api_key_env": "MY_KEY"}}}
        self.assertEqual(made(table, {"MY_KEY": "k"}).providers["mine"].api_key, "k")
        self.assertIsNone(made(table).providers["mine"].api_key)

    def test_pools(self) -> None:
        """A provider has several keys from variables, files, or the file itself; a variable that is unset gives none."""
        for name, value in (("api_keys_env", ["K1", "K2", "K3"]), ("api_keys", ["one", "two"])):
            config = made({"providers": {"openai": {name: value}}}, {"K1": "one", "K2": "two", "OPENAI_API_KEY": "no"})
            provider = config.providers["openai"]
            self.assertEqual((provider.api_keys, provider.api_key), (("one", "two"), None))
            warned = ["providers.openai.api_keys_env: the variable K3 is not set"] if name == "api_keys_env" else []
            self.assertEqual([line for line in config.warnings if "api_keys" in line], warned)


class OffTests(SynchronousTestCase):
    """Parts that are off by default."""

    def test_circuit_breaker(self) -> None:
        """Absent, there is none; an empty table is one with the usual options."""
        table = {"providers": {"anthropic": {}, "openai": {"circuit_breaker": {"timeout": 5}}}}
        providers = made(table).providers
        self.assertIsNone(providers["anthropic"].circuit_breaker)
        self.assertEqual(providers["openai"].circuit_breaker, BreakerSettings(timeout=5))
        usual = made({"providers": {"openai": {"circuit_breaker": {}}}}).providers["openai"].circuit_breaker
        self.assertEqual(usual, BreakerSettings(failure_threshold=5, interval=10.0, timeout=30.0, max_requests=3))

    def test_traces(self) -> None:
        """Nothing is traced without a section, though it be empty; missing packages are one line."""
        self.assertIsNone(made({}).otel)
        self.assertEqual(made({"otel": {}}).otel, TracingSettings())
        for endpoint, url in (("http://c:4318", "http://c:4318/v1/traces"), ("http://c/x", "http://c/x"), (None, None)):
            self.assertEqual(TracingSettings(endpoint=endpoint).traces_url, url)
        for missing in (None, ModuleNotFoundError()):

            def find(name: str, missing: Exception | None = missing) -> None:
                if missing is not None:
                    raise missing

            self.patch(loader, "find_spec", find)
            error = self.assertRaises(ConfigError, made, {"otel": {}})
            self.assertEqual(error.why, "needs OpenTelemetry's packages: pip install 'aibridge[otel]'")

    def test_limits(self) -> None:
        """Nobody is limited, unless the file says so."""
        self.assertEqual(made({}).limits, Limits(requests_per_minute=None, concurrent=None))
        self.assertEqual(made({"limits": {"concurrent": 4}}).limits, Limits(concurrent=4))


class FileTests(SynchronousTestCase):
    """Files on disk."""

    def file(self, content: bytes, name: str = HERE) -> Path:
        """A file with that content, in a folder of its own."""
        path = Path(self.mktemp())
        path.mkdir()
        path /= name
        path.write_bytes(content)
        return path

    def test_whole(self) -> None:
        """Every key that there is can be set."""
        path = self.file(b"""
            [server]
            listen = "tcp:9000:interface=127.0.0.1"
            admin_listen = "off"
            max_body_bytes = 1024
            drain_seconds = 0
            [database]
            url = "postgresql+psycopg://u:p@h/db"
            [record]
            prompts = false
            retention_days = 90
            [auth]
            mode = "none"
            [providers.my-claude]
            type = "anthropic"
            api_key = "k"
            connect_timeout = 5
            on_disconnect = "drain"
            send_actor_headers = true
            extra_headers = { X-Team = "core" }
            passthrough = ["/v1/files"]
        """)
        config = load_config(str(path), {})
        provider = config.providers["my-claude"]
        self.assertEqual((config.server.admin_listen, config.server.drain_seconds), ("off", 0))
        self.assertEqual((provider.connect_timeout, provider.passthrough), (5, ("/v1/files",)))
        self.assertEqual(provider.extra_headers, {"X-Team": "core"})
        self.assertEqual((config.record.prompts, config.database.retention_days), (False, 90))

    def test_key_file(self) -> None:
        """A key's file is looked for beside the configuration, and the line's end is no part of the key."""
        path = self.file(b'[providers.openai]\napi_key_file = "key"')
        path.with_name("key").write_text("s3cret\n")
        self.assertEqual(load_config(str(path), {}).providers["openai"].api_key, "s3cret")

    def test_tls_files(self) -> None:
        """The paths of a provider's certificates start at the file's own directory."""
        path = self.file(b'[providers.openai]\nca_file = "own.pem"\nclient_cert = "own.pem"')
        pem = path.with_name("own.pem")
        pem.write_bytes(make_certificate("provider.test"))
        provider = load_config(str(path), {}).providers["openai"]
        self.assertEqual((provider.ca_file, provider.client_cert), (str(pem), str(pem)))

    def test_servers_certificate(self) -> None:
        """The gateway's certificate and its key are beside the file, and are tried at once."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "own.pem").write_bytes(make_certificate("localhost"))
        file = folder / "a.toml"
        file.write_text("[server]\ntls_certificate = 'own.pem'")
        self.assertEqual(load_config(str(file), {}).server.tls_certificate, str(folder / "own.pem"))
        for text, key, why in (
            ("tls_certificate = 'nope.pem'", "tls_certificate", "nope.pem: can't be read"),
            ("tls_certificate = 'own.pem'\ntls_key = 'nope.pem'", "tls_certificate", "nope.pem can't be read"),
            ("tls_key = 'own.pem'", "tls_certificate", "missing"),
            (f"tls_certificate = 'own.pem'\nlisten = 'ssl:1:privateKey={folder}/own.pem'", "listen", "tcp:"),
        ):
            file.write_text(f"[server]\n{text}")
            error = self.assertRaises(ConfigError, load_config, str(file), {})
            self.assertEqual(error.key, f"server.{key}")
            self.assertIn(why, error.why)

    def test_database_url(self) -> None:
        """The database's URL may be in a variable or a file; a missing one is no reason to use the default."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "url").write_text("sqlite:///in-file\n")
        file = folder / "a.toml"
        file.write_text("[database]\nurl_file = 'url'")
        self.assertEqual(load_config(str(file), {}).database.url, "sqlite:///in-file")
        file.write_text("[database]\nurl_env = 'DB'")
        self.assertEqual(load_config(str(file), {"DB": "sqlite:///in-variable"}).database.url, "sqlite:///in-variable")
        option = {"--database": (("database", "url"), "sqlite:///option")}
        self.assertEqual(load_config(str(file), {"DB": "sqlite:///x"}, option).database.url, "sqlite:///option")
        error = self.assertRaises(ConfigError, load_config, str(file), {})
        self.assertEqual((error.key, error.why), ("database.url_env", "the variable DB is not set"))
        error = self.assertRaises(ConfigError, load_config, str(file), {"DB": "hunter2"})
        self.assertEqual((error.source, error.key), ("environment", "DB"))
        self.assertNotIn("hunter2", str(error))
        file.write_text("[database]\nurl_env = 'DB'\nurl = 'sqlite://'")
        self.assertIn("besides", self.assertRaises(ConfigError, load_config, str(file), {}).why)

    def test_issuers_keys(self) -> None:
        """Their file is looked for beside the configuration, and must hold such keys."""
        path = self.file(b"""
            [auth]
            mode = "jwt"
            jwks_file = "jwks.json"
            issuer = "i"
            audience = "a"
        """)
        keys = path.with_name("jwks.json")
        keys.write_bytes(jwks(public_jwk("ES256")))
        self.assertEqual(load_config(str(path), {}).auth.jwks_file, str(keys))
        keys.write_text('{"keys": []}')
        error = self.assertRaises(ConfigError, load_config, str(path), {})
        self.assertEqual((error.key, error.why[:10]), ("auth.jwks_file", "jwks.json:"))

    def test_unreadable(self) -> None:
        """The error of a file that can't be read names the file and the reason."""
        for path, why in (
            ("/nowhere/aibridge.toml", "No such file"),
            (str(self.file(b"\xff")), "UTF-8"),
            (str(self.file(b"[server")), "must be TOML"),
            (str(self.file(b"a=" + b"[" * 5000)), "deeply"),
        ):
            error = self.assertRaises(ConfigError, load_config, path, {})
            self.assertEqual((error.source, error.key), (path, ""))
            self.assertIn(why, error.why)

    def test_missing_key_file(self) -> None:
        """The error of a missing file names the key that names the file."""
        error = self.assertRaises(ConfigError, made, {"providers": {"openai": {"api_key_file": "/nowhere/key"}}})
        self.assertEqual(error.key, "providers.openai.api_key_file")
        self.assertIn("No such file", error.why)


class WarningTests(SynchronousTestCase):
    """Settings that can be used, but look wrong."""

    def found(self, **providers: dict[str, Any]) -> list[str]:
        """The warnings of a configuration with these providers."""
        return config_warnings(configure(ConfigSources({"providers": providers}, HERE)))

    def test_usual(self) -> None:
        """The defaults, and the base URLs that other servers document, are not warned of."""
        self.assertEqual(config_warnings(load_config(None, {})), [])
        for url in (
            "http://127.0.0.1:11434/v1",
            "https://openrouter.ai/api/v1/",
            "https://host/v1beta/openai",
            "https://host/api/paas/v4",
            "https://host/inference",
        ):
            self.assertEqual(self.found(openai={"base_url": url}), [])
        self.assertEqual(self.found(anthropic={"base_url": "https://host/anthropic"}), [])

    def test_base_url(self) -> None:
        """A /v1 too many or too few, or the end of a route, is told with its key."""
        for kind, url, part in (
            ("anthropic", "https://api.anthropic.com/v1", "a /v1 too many"),
            ("anthropic", "https://api.anthropic.com/v1/", "a /v1 too many"),
            ("anthropic", "https://api.anthropic.com/v1/messages", "ends in /v1/messages"),
            ("openai", "https://api.openai.com", "has no /v1"),
            ("openai", "https://api.openai.com/", "has no /v1"),
            ("openai", "https://api.openai.com/v1/v1", "a /v1 too many"),
            ("openai", "https://api.openai.com/v1/chat/completions", "ends in /chat/completions"),
        ):
            [warning] = self.found(mine={"type": kind, "base_url": url})
            self.assertTrue(warning.startswith("providers.mine.base_url: "), warning)
            self.assertIn(part, warning)

    def test_byok(self) -> None:
        """A provider that takes no credential of clients needs a configured one."""
        self.assertEqual(self.found(openai={"byok": "refuse", "api_key": "k"}), [])
        [warning] = self.found(openai={"byok": "ignore"})
        self.assertIn("providers.openai.byok: is ignore without any api_key", warning)


class SecretTests(SynchronousTestCase):
    """Secrets, which are never shown."""

    def test_repr(self) -> None:
        """No form of a configuration shows a key, a header's value or a database's password."""
        table = {
            "database": {"url": "postgresql+psycopg://u:hunter2@h/db"},
            "providers": {"openai": {"api_key": "hunter2", "extra_headers": {"X-Key": "hunter2"}}},
        }
        self.assertNotIn("hunter2", repr(made(table)))

    def test_webhook(self) -> None:
        """A webhook needs a secret, which may be elsewhere, and is not shown."""
        table = {"budget": {"webhook": "https://h/x", "webhook_secret_env": "HOOK"}}
        found = configure(ConfigSources(table, "t.toml", {"HOOK": "hunter2"}))
        self.assertEqual(found.budget.webhook_secret, "hunter2")
        self.assertNotIn("hunter2", repr(found))
        error = self.assertRaises(ConfigError, made, table)
        self.assertIn("budget.webhook_secret: the variable HOOK is not set", str(error))
        error = self.assertRaises(ConfigError, made, {"budget": {"webhook": "https://h/x"}})
        self.assertIn("budget.webhook_secret: missing", str(error))

    def test_errors(self) -> None:
        """An error about a secret does not repeat it."""
        for table in (
            {"providers": {"openai": {"api_key": "hunter2 "}}},
            {"providers": {"openai": {"base_url": "http://u:hunter2@h"}}},
            {"providers": {"openai": {"extra_headers": {"X": "hunter2\n"}}}},
            {"database": {"url": "postgresql+psycopg://u:p@hunter2:hunter2/db"}},
            {"database": {"url": "hunter2"}},
        ):
            error = self.assertRaises(ConfigError, made, table)
            self.assertIsNone(re.search("hunter2", str(error)))
