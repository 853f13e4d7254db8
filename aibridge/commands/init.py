"""``aibridge init``: a commented configuration file to begin with."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import frozen

from ..config.environment import CONFIG_VARIABLE
from ..config.loader import configure
from ..config.model import DEFAULT_DATABASE
from ..config.sources import ConfigSources, KeyPath
from ..errors import ConfigError
from .settings_files import replace_file

_DEFAULT_FILE = "aibridge.toml"
_TEMPLATE = """\
# The configuration of aibridge. Settings that are commented out have the value shown here, or are examples.
# All settings are in the manual's page "Configuration". After a change: aibridge config check --config {file}

[server]
listen = "tcp:8080:interface=127.0.0.1"        # the gateway; on this machine only
admin_listen = "tcp:8081:interface=127.0.0.1"  # /healthz, /readyz and /metrics, without login; or "off"
# For other machines, with TLS (and with an auth mode other than "none"):
# listen = "tcp:8443"
# tls_certificate = "fullchain.pem"            # beside this file
# tls_key = "privkey.pem"

[database]
url = {database}
# A relative path starts in the folder in which the gateway is started. PostgreSQL, with the URL in a variable:
# url_env = "DATABASE_URL"                     # postgresql+psycopg://user:password@host/database
spool_dir = "aibridge-spool"                   # rows wait here while the database is away

[record]
prompts = true                                 # false: the rows are there, without these contents
tool_arguments = true
tool_results = false
thoughts = true
retention_days = 0                             # records are deleted at this age; 0 keeps them

[auth]
mode = "none"                                  # every user is "anonymous"; suitable for your own machine
# mode = "keys"                                # each user has a key: aibridge keys create --actor NAME

[limits]
# requests_per_minute = 60                     # of each user
# concurrent = 10

# A client's own key goes to the provider. For clients that send none, the gateway has a key of its own: in the
# variable that api_key_env names, in a file (api_key_file), or here (api_key).
[providers.anthropic]
base_url = "https://api.anthropic.com"
api_key_env = "ANTHROPIC_API_KEY"

[providers.openai]
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"

# Any other provider that speaks one of these APIs, at http://GATEWAY/local/v1:
# [providers.local]
# type = "openai"
# base_url = "http://127.0.0.1:11434/v1"

# Models in a cloud; the manual's page "Providers" has all types. This one needs: pip install "aibridge[aws]"
# [providers.aws]
# type = "bedrock"
# region = "eu-central-1"
# models = {{ "^claude-(.*)$" = "eu.anthropic.claude-{{1}}-v1:0" }}

# Tools of an MCP server that the gateway adds to every request and runs itself:
# [mcp.wiki]
# url = "https://wiki.example/mcp"
# headers_env = {{ Authorization = "WIKI_TOKEN" }}
"""


@frozen
class InitTarget:
    """The file to write."""

    path: Path
    database: str
    """The URL of the database to put into it."""


def choose_target(
    path: str | None, environ: Mapping[str, str], options: Mapping[str, tuple[KeyPath, str]]
) -> InitTarget:
    """Return the file that ``--config`` or ``AIBRIDGE_CONFIG`` names, or else ``aibridge.toml`` in this folder."""
    database = next((value for key, value in options.values() if key == ("database", "url")), DEFAULT_DATABASE)
    return InitTarget(Path(path or environ.get(CONFIG_VARIABLE) or _DEFAULT_FILE), database)


def write_config(target: InitTarget, force: bool) -> Iterator[str]:
    """Write a commented configuration file to begin with."""
    path = target.path
    content = _TEMPLATE.format(file=path, database=json.dumps(target.database))
    configure(ConfigSources(tomllib.loads(content), "command line"))  # raises for a URL that can't be used
    try:
        if force:
            replace_file(path.resolve(), content, mode=0o600)
        else:
            # The file may come to hold keys: nobody else may read it, not even for a moment.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(content)
    except FileExistsError as error:
        raise ConfigError("command line", "--config", f"{path} exists; --force replaces it") from error
    except OSError as error:
        raise ConfigError("command line", "--config", f"{path} can't be written: {error.strerror}") from error
    option = "" if os.environ.get(CONFIG_VARIABLE) == str(path) else f" --config {path}"
    yield f"{path} is written; only you can read it. Next:"
    yield f"  aibridge doctor{option}              finds what is missing or wrong"
    yield f"  aibridge run{option}                 starts the gateway"
    yield f"  aibridge setup claude-code{option}   shows a client's settings; also: codex, opencode, and others"
