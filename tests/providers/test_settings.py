"""The settings of a provider, as a host program gives them."""

import os
from pathlib import Path
from typing import Any

from attrs import fields
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge import AnthropicProvider, BreakerSettings, OpenAIProvider
from aibridge.config.loader import configure
from aibridge.config.sources import ConfigSources
from aibridge.errors import ConfigError
from aibridge.providers import PROVIDER_TYPES
from aibridge.providers.refused import RefusedSettings
from aibridge.settings import InvalidSetting

from ..http.certificates import make_certificate

WRONG: dict[str, tuple[Any, ...]] = {
    "name": ("", "Open_AI", "a--b", None, b"openai"),
    "base_url": ("", "ftp://h", "http://u:hunter2@h", "http://h?a=hunter2", "http://[::1", 5),
    "api_key": ("", "hunter2\n", " hunter2", b"hunter2", "hünter2"),
    "proxy": (
        "",
        "socks5://hunter2@h",
        "http://hunter2@h:0",
        "http://h/hunter2",
        "http://hunter2@[::1",
        "hunter2 h",
        5,
    ),
    "ca_file": ("", "/nonexistent/ca.pem", __file__, 5),
    "client_cert": ("", "/nonexistent/client.pem", __file__, 5),
    "byok": ("never", True, ""),
    "connect_timeout": (0, -1.0, "10", float("nan"), True),
    "first_byte_timeout": (0.0, None),
    "idle_timeout": (float("inf"), "hunter2"),
    "on_disconnect": ("sulk", 1),
    "send_actor_headers": (1, "yes"),
    "extra_headers": ({"Host": "x"}, {"a b": "hunter2"}, {"A": "hunter2\r\n"}, {b"A": "x"}, {"A": 1}, [("A", "x")]),
    "circuit_breaker": (True, {"timeout": 0}, {"time_out": 5}),
    "tools": (0, "no"),
    "max_tools": (-1, "128", True),
    "models": ({"(": "a"}, {"a": ""}, {"a": 1}, {"(a)": "{2}"}, [("a", "b")]),
    "refused": (True, {"betas": [5]}, {"beta": []}),
    "api_key_env": ("", 5),
    "api_key_file": ("", 5, "/nonexistent/hunter2"),
    "dump_dir": (5, "/a\0b"),
    "dump_max_bytes": (0, 1.5),
    "dump_days": (-1, True),
    "passthrough": (["embeddings"], ["/../x"], "/x", [5]),
}
CHANGED: dict[str, Any] = {
    "name": "mine",
    "base_url": "http://h/v1",
    "api_key": "k",
    "api_key_env": "MINE",
    "api_key_file": "mine.key",
    "proxy": "http://user:password@proxy.test:3128",
    "byok": "ignore",
    "connect_timeout": 1.0,
    "first_byte_timeout": 2.0,
    "idle_timeout": 3.0,
    "on_disconnect": "drain",
    "send_actor_headers": True,
    "extra_headers": {"X-Team": "core"},
    "circuit_breaker": BreakerSettings(timeout=5),
    "api_keys": ("sk-1", "sk-2"),
    "fallback": ("another",),
    "fallback_mid_conversation": True,
    "shared_storage": True,
    "models": {"^claude-(.*)$": "anthropic.claude-{1}"},
    "refused": RefusedSettings(betas=("oauth-*",), fields=("metadata",), learn=True),
    "passthrough": ("/embeddings",),
    "dump_dir": "/var/dumps",
    "dump_max_bytes": 5,
    "dump_days": 0,
    "tools": False,
    "max_tools": 64,
    "usage_profile": "xai",
    "websocket": False,
}


class HostTests(SynchronousTestCase):
    """Keyword arguments."""

    def test_usual(self) -> None:
        """Without arguments, a provider has the name of its type and the public base URL."""
        for cls, url in (
            (AnthropicProvider, "https://api.anthropic.com"),
            (OpenAIProvider, "https://api.openai.com/v1"),
        ):
            provider = cls()
            self.assertEqual((provider.name, provider.base_url, provider.api_key), (cls.type, url, None))

    def test_all(self) -> None:
        """Every setting is a keyword argument."""
        pem = Path(self.mktemp())
        pem.write_bytes(make_certificate("provider.test"))
        changed = CHANGED | {"ca_file": str(pem), "client_cert": str(pem)}
        self.assertEqual(changed.keys(), {key.name for key in fields(OpenAIProvider)})
        provider = OpenAIProvider(**changed)
        self.assertEqual({name: getattr(provider, name) for name in changed}, changed)
        self.assertNotIn("password", repr(provider))

    def test_sources_of_the_key(self) -> None:
        """A variable or a file has the key, as in a configuration file; one that is not set is no key."""
        file = Path(self.mktemp())
        file.write_text("sk-of-the-file\n")
        self.patch(os, "environ", {"MINE": "sk-of-the-variable"})
        for arguments, key in (
            ({"api_key_env": "MINE"}, "sk-of-the-variable"),
            ({"api_key_env": "UNSET"}, None),
            ({"api_key_file": str(file)}, "sk-of-the-file"),
            ({"api_key_env": "MINE", "api_key": "sk-own"}, "sk-own"),
        ):
            provider = AnthropicProvider(**arguments)
            self.assertEqual(provider.api_key, key)
            self.assertNotIn("sk-", repr(provider))

    def test_tables(self) -> None:
        """A table within the provider's may be a dictionary, as in a configuration file."""
        provider = AnthropicProvider(circuit_breaker={"timeout": 5}, refused={"fields": ["metadata"]})
        self.assertEqual(provider.circuit_breaker, BreakerSettings(timeout=5))
        self.assertEqual(provider.refused, RefusedSettings(fields=("metadata",)))

    def test_wrong(self) -> None:
        """An argument that can't be used is a ValueError that names it, and never its value."""
        for name, values in WRONG.items():
            for value in values:
                error = self.assertRaises(ValueError, AnthropicProvider, **{name: value})
                self.assertTrue(str(error).startswith(f"{name}: "), str(error))
                self.assertNotIn("hunter2", str(error))
                self.assertNotIn("hünter2", str(error))

    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from(sorted(WRONG.keys() - {"name", "circuit_breaker", "refused", "api_key_env", "api_key_file"})),
        st.recursive(
            st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=4,
        ),
    )
    def test_same_as_in_a_file(self, key: str, value: Any) -> None:
        """A file's setting is refused exactly where a host program's argument is, and for the same reason."""
        try:
            OpenAIProvider(**{"name": "mine", key: value})
            why = None
        except InvalidSetting as error:
            why = error.why
        table = {"providers": {"mine": {"type": "openai", key: value}}}
        try:
            provider = configure(ConfigSources(table, "aibridge.toml")).providers["mine"]
            self.assertIsNone(why)
            self.assertEqual(provider, OpenAIProvider(**{"name": "mine", key: value}))
        except ConfigError as error:
            self.assertEqual(error.why, why)


class TypeTests(SynchronousTestCase):
    """Types of provider."""

    def test_all_types(self) -> None:
        """Each type can be configured by its name, and what it needs, which gives the same provider as in a host program."""
        needed = {
            "azure": {"resource": "mine"},
            "bedrock": {"region": "eu-central-1"},
            "foundry": {"resource": "mine"},
            "vertex": {"project": "mine"},
        }
        for name, cls in PROVIDER_TYPES.items():
            settings: Any = needed.get(name, {})
            [provider] = configure(ConfigSources({"providers": {name: settings}}, "aibridge.toml")).providers.values()
            self.assertEqual(provider, cls(**settings))
