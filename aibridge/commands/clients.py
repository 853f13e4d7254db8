"""The settings with which client programs use a gateway, as a table of programs that is easy to add to.

Texts contain ``$anthropic`` and ``$openai`` for the base URLs of providers of these types. A setting whose type of
provider is not configured is left out.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template

from attrs import Factory, frozen

from .settings_files import JSON, TOML, FileFormat, Tree

Environment = Mapping[str, str]


@frozen(kw_only=True)
class SettingsFile:
    """A settings file of a client program, and what to set in it."""

    find: Callable[[Environment, Path], Path]
    """Return the path for these environment variables and this home folder."""
    format: FileFormat
    settings: Tree


@frozen(kw_only=True)
class ClientProgram:
    """A client program and its settings."""

    title: str
    types: tuple[str, ...]
    """The types of provider that the client can use."""
    variables: Mapping[str, str] = Factory(dict)
    """Environment variables."""
    command: str = ""
    """A command line that sets the base URL for one run."""
    file: SettingsFile | None = None
    code: str = ""
    """Lines of a program that uses the gateway."""
    key: str
    """The place of a key for the gateway."""
    own_key: str = Factory(lambda self: self.key, takes_self=True)
    """The place of the user's own key for the provider."""


def _claude_settings(environ: Environment, home: Path) -> Path:
    return Path(environ.get("CLAUDE_CONFIG_DIR") or home / ".claude") / "settings.json"


def _codex_settings(environ: Environment, home: Path) -> Path:
    return Path(environ.get("CODEX_HOME") or home / ".codex") / "config.toml"


def _opencode_settings(environ: Environment, home: Path) -> Path:
    """Return opencode's own file; ``opencode.jsonc`` only if that alone exists."""
    folder = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "opencode"
    plain, commented = folder / "opencode.json", folder / "opencode.jsonc"
    return commented if commented.exists() and not plain.exists() else plain


CLIENTS: Mapping[str, ClientProgram] = {
    "claude-code": ClientProgram(
        title="Claude Code",
        types=("anthropic",),
        variables={"ANTHROPIC_BASE_URL": "$anthropic"},
        file=SettingsFile(find=_claude_settings, format=JSON, settings={"env": {"ANTHROPIC_BASE_URL": "$anthropic"}}),
        key="the variable ANTHROPIC_AUTH_TOKEN",
        own_key="the variable ANTHROPIC_API_KEY",
    ),
    "codex": ClientProgram(
        title="Codex",
        types=("openai",),
        command="codex -c openai_base_url=$openai",
        file=SettingsFile(find=_codex_settings, format=TOML, settings={"openai_base_url": "$openai"}),
        key="the input of `codex login --with-api-key`",
    ),
    "opencode": ClientProgram(
        title="opencode",
        types=("anthropic", "openai"),
        file=SettingsFile(
            find=_opencode_settings,
            format=JSON,
            settings={
                "provider": {
                    "anthropic": {"options": {"baseURL": "$anthropic/v1"}},
                    "openai": {"options": {"baseURL": "$openai"}},
                },
            },
        ),
        key="the variables ANTHROPIC_API_KEY and OPENAI_API_KEY",
    ),
    "anthropic-sdk": ClientProgram(
        title="the Anthropic SDK",
        types=("anthropic",),
        variables={"ANTHROPIC_BASE_URL": "$anthropic"},
        code='client = Anthropic(base_url="$anthropic")',
        key="the variable ANTHROPIC_API_KEY",
    ),
    "openai-sdk": ClientProgram(
        title="the OpenAI SDK",
        types=("openai",),
        variables={"OPENAI_BASE_URL": "$openai"},
        code='client = OpenAI(base_url="$openai")',
        key="the variable OPENAI_API_KEY",
    ),
    "openai-agents": ClientProgram(
        title="the OpenAI Agents SDK",
        types=("openai",),
        variables={"OPENAI_BASE_URL": "$openai"},
        code='set_default_openai_client(AsyncOpenAI(base_url="$openai"))',
        key="the variable OPENAI_API_KEY",
    ),
}
"""All programs that are known here, by the name that ``aibridge setup`` takes."""


def fill(text: str, base_urls: Mapping[str, str]) -> str | None:
    """Return the text with base URLs in it; None if it names a type of provider that is not configured."""
    try:
        return Template(text).substitute(base_urls)
    except KeyError:
        return None


def fill_tree(tree: Tree, base_urls: Mapping[str, str]) -> Tree:
    """Return nested settings with base URLs in them, without those that can't be filled in."""
    filled: Tree = {}
    for name, value in tree.items():
        content = fill(value, base_urls) if isinstance(value, str) else fill_tree(value, base_urls)
        if content:
            filled[name] = content
    return filled
