"""The command line of the commands for a first run: ``aibridge init``, ``doctor`` and ``setup``."""

from typing import Any

from .client_setup import load_without_client_variables, public_url, set_up_client
from .clients import CLIENTS
from .doctor import examine, read_configuration
from .init import choose_target, write_config


def add_first_run_commands(areas: Any, add: Any) -> None:
    """Add the commands.

    ``add(areas, name, function)`` adds a command with the options that all have. ``load`` replaces `load_config`.
    """
    init = add(areas, "init", write_config)
    init.add_argument("--force", action="store_true", help="replace a file that exists")
    init.set_defaults(load=choose_target)

    doctor = add(areas, "doctor", examine)
    doctor.add_argument("--offline", action="store_true", help="ask no provider, issuer of tokens or MCP server")
    doctor.set_defaults(load=read_configuration)

    setup = add(areas, "setup", set_up_client)
    setup.add_argument("client", metavar="CLIENT", choices=[*CLIENTS], help=", ".join(CLIENTS))
    setup.add_argument("--url", type=public_url, help="the gateway's address for clients; default: on this machine")
    setup.add_argument("--provider", metavar="NAME", help="default: the first of the client's type")
    setup.add_argument("--write", action="store_true", help="write the settings into the client's own settings file")
    setup.set_defaults(load=load_without_client_variables)
