"""Settings by environment."""

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.config.loader import load_config
from aibridge.config.model import Config
from aibridge.errors import ConfigError


class EnvironmentTests(SynchronousTestCase):
    """Variables ``AIBRIDGE_…``."""

    def config(self, file: str = "", options: dict[str, Any] | None = None, **variables: str) -> Config:
        """The configuration of a file with that content, variables without their prefix, and options."""
        path = Path(self.mktemp())
        path.write_text(file)
        return load_config(str(path), {f"AIBRIDGE_{name}": value for name, value in variables.items()}, options)

    def test_precedence(self) -> None:
        """A variable takes precedence over the file, and an option over the variable; an empty one counts as unset."""
        file = "[server]\ndrain_seconds = 1\n[database]\nurl = 'sqlite:///file'"
        config = self.config(file, SERVER__DRAIN_SECONDS="2.5", DATABASE__URL="")
        self.assertEqual((config.server.drain_seconds, config.database.url), (2.5, "sqlite:///file"))
        option = {"--database": (("database", "url"), "sqlite:///option")}
        self.assertEqual(self.config(file, option, DATABASE__URL="sqlite:///x").database.url, "sqlite:///option")

    def test_every_kind(self) -> None:
        """Numbers, truth, lists and tables are written as in TOML; text needs no quotes, whatever it looks like."""
        config = self.config(
            "[providers.openai]\n[providers.my-own]\ntype = 'openai'",
            RECORD__PROMPTS="false",
            LIMITS__CONCURRENT="5",
            PROVIDERS__OPENAI__API_KEY="12345",
            PROVIDERS__MY_OWN__BASE_URL="http://h/v1",
            PROVIDERS__MY_OWN__PASSTHROUGH='["/files"]',
            PROVIDERS__MY_OWN__EXTRA_HEADERS='{ X-Team = "core" }',
            AUTH__TRUSTED_PROXIES="['10.0.0.0/8']",
            MCP__WIKI__URL="https://wiki.test/mcp",
        )
        self.assertIs(config.record.prompts, False)
        self.assertEqual(config.limits.concurrent, 5)
        self.assertEqual(config.providers["openai"].api_key, "12345")
        mine = config.providers["my-own"]
        self.assertEqual((mine.base_url, mine.extra_headers["X-Team"]), ("http://h/v1", "core"))
        self.assertEqual(config.auth.trusted_proxies, ("10.0.0.0/8",))
        self.assertEqual(config.mcp.servers["wiki"].url, "https://wiki.test/mcp")

    def test_one_key_more(self) -> None:
        """A variable for one provider, where the file names none, leaves the others as they are without it."""
        providers = self.config(PROVIDERS__OPENAI__BYOK="ignore").providers
        self.assertEqual([*providers], [*load_config(None, {}).providers])
        self.assertEqual(providers["openai"].byok, "ignore")

    def test_in_place_of_a_source(self) -> None:
        """A key of the environment takes the place of the variable or the file that the file names for it."""
        file = "[database]\nurl_env = 'UNSET'\n[providers.openai]\napi_key_file = 'nope'"
        config = self.config(file, DATABASE__URL="sqlite:///x", PROVIDERS__OPENAI__API_KEY="k")
        self.assertEqual((config.database.url, config.providers["openai"].api_key), ("sqlite:///x", "k"))

    def test_errors(self) -> None:
        """The error of a wrong variable names the variable, and quotes no value."""
        for name, value, why in (
            ("SERVER__LISTN", "hunter2", "the nearest known name is listen"),
            ("SERVER__DRAIN_SECONDS", "hunter2", "must be a number, not a string"),
            ("SERVER__DRAIN_SECONDS", "1\nlisten = 2", "must be a number, not a string"),
            ("SEVRER__LISTEN", "hunter2", "the nearest known name is server"),
            ("PROVIDERS__OPENAI__BASE_URL", "hunter2", "must"),
        ):
            error = self.assertRaises(ConfigError, self.config, **{name: value})
            self.assertIn(why, error.why)
            self.assertNotIn("hunter2", str(error))
            self.assertEqual((error.source, error.key), ("environment", f"AIBRIDGE_{name}"))

    def test_one_underscore(self) -> None:
        """A variable that lacks the second underscore sets nothing: a warning says so. The file may use its name."""
        self.assertEqual(
            self.config(DATABASE_URL="hunter2", PORT="1", SERVER_LISTEN="").warnings,
            (
                "environment: AIBRIDGE_DATABASE_URL: not used; write AIBRIDGE_DATABASE__URL, with two underscores",
                "environment: AIBRIDGE_SERVER_LISTEN: not used; write AIBRIDGE_SERVER__LISTEN, with two underscores",
            ),
        )
        file = "[database]\nurl_env = 'AIBRIDGE_DATABASE_URL'"
        self.assertEqual(self.config(file, DATABASE_URL="sqlite:///x").warnings, ())

    def test_no_setting(self) -> None:
        """Other variables are left alone, and so is a table that is none in the file."""
        config = load_config(None, {"AIBRIDGE_HOME": "x", "AIBRIDGE_A____B": "x", "OTHER__LISTEN": "x"})
        self.assertEqual(config, load_config(None, {}))
        error = self.assertRaises(ConfigError, self.config, "server = 5", SERVER__LISTEN="x")
        self.assertIn("must be a table", error.why)

    def test_file(self) -> None:
        """``AIBRIDGE_CONFIG`` names the file, unless the command line does."""
        for name in "ab":
            Path(name).write_text(f"[database]\nurl = 'sqlite:///{name}'")
        self.assertEqual(load_config(None, {"AIBRIDGE_CONFIG": "a"}).database.url, "sqlite:///a")
        self.assertEqual(load_config("b", {"AIBRIDGE_CONFIG": "a"}).database.url, "sqlite:///b")
        error = self.assertRaises(ConfigError, load_config, None, {"AIBRIDGE_CONFIG": "nope"})
        self.assertIn("nope: can't be read", str(error))
