"""The parser of the command line.

A command names its function as ``module:function``, and nothing of it is imported before it is run: help and completion
are quick that way.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from .. import __version__
from .arguments import parse_public_url, typed
from .clients import CLIENTS
from .money_parser import add_budget_commands, add_cost_commands
from .parsing import add_area, add_command, format_examples
from .people_parser import add_console_commands, add_key_commands, add_user_commands
from .record_parser import add_database_commands, add_export
from .run_options import RUN_FLAGS, RUN_OPTIONS

if TYPE_CHECKING:
    from .parsing import Areas


def make_parser() -> ArgumentParser:
    """Return the parser.

    Each command sets ``run``, the name of its function, and the arguments to call it with; ``load``, the name of the
    function that reads its configuration; ``uses_database`` and ``is_data`` (its output is UTF-8 in every locale).
    """
    parser = ArgumentParser(
        prog="aibridge",
        description="The aibridge gateway, and its operator's tool.",
        epilog=format_examples("aibridge init", "aibridge doctor --config aibridge.toml", "aibridge run --demo"),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"aibridge {__version__}")
    areas = parser.add_subparsers(required=True, metavar="AREA")
    _add_run(areas)
    _add_first_run_commands(areas)
    _add_client_commands(areas)
    add_database_commands(areas)
    add_key_commands(areas)
    add_user_commands(areas)
    add_console_commands(areas)
    _add_demo_commands(areas)
    _add_other_commands(areas)
    add_cost_commands(areas)
    add_budget_commands(areas)
    add_export(areas)
    return parser


def _add_run(areas: "Areas") -> None:
    """Add ``run`` with its options, for shells that complete them: they are parsed by the gateway's own program."""
    run = areas.add_parser("run", help="run the gateway; aibridge run --help has its options")
    for name, text in RUN_OPTIONS.items():
        run.add_argument(f"--{name}", help=text, choices=("text", "json") if name == "log-format" else None)
    for name, text in RUN_FLAGS.items():
        run.add_argument(f"--{name}", help=text, action="store_true")


def _add_first_run_commands(areas: "Areas") -> None:
    init = add_command(
        areas,
        "init",
        ".commands.init:write_config",
        "Write a commented configuration file to begin with.",
        "aibridge init",
        "aibridge init --config /etc/aibridge/aibridge.toml",
        load=".commands.init:choose_target",
    )
    init.add_argument("--force", action="store_true", help="replace a file that exists")

    doctor = add_command(
        areas,
        "doctor",
        ".commands.doctor:examine",
        "Look for what is wrong with an installation, and say how to mend it.",
        "aibridge doctor --config aibridge.toml",
        "aibridge doctor --config aibridge.toml --offline",
        load=".commands.doctor:read_configuration",
    )
    doctor.add_argument("--offline", action="store_true", help="ask no provider, issuer of tokens or MCP server")


def _add_client_commands(areas: "Areas") -> None:
    setup = add_command(
        areas,
        "setup",
        ".commands.client_setup:set_up_client",
        "Print a client's settings for this gateway, or write them into the client's own settings file.",
        "aibridge setup claude-code --url https://aibridge.example",
        "aibridge setup codex --config aibridge.toml --write",
        load=".commands.client_setup:load_without_client_variables",
    )
    setup.add_argument("client", metavar="CLIENT", choices=[*CLIENTS], help=", ".join(CLIENTS))
    setup.add_argument(
        "--url", type=typed(parse_public_url), help="the gateway's address for clients; default: on this machine"
    )
    setup.add_argument("--provider", metavar="NAME", help="default: the first of the client's type")
    setup.add_argument("--write", action="store_true", help="write the settings into the client's own settings file")

    completion = add_command(
        areas,
        "completion",
        ".commands.completion:print_completion",
        "Print the script with which a shell completes this command.",
        'eval "$(aibridge completion bash)"',
        "aibridge completion zsh > ~/.zfunc/_aibridge",
        "aibridge completion fish > ~/.config/fish/completions/aibridge.fish",
        load=".commands.completion:read_parser",
        reads_config=False,
    )
    completion.add_argument("shell", choices=("bash", "zsh", "fish"), help="bash, zsh or fish")


def _add_demo_commands(areas: "Areas") -> None:
    fill = add_command(
        add_area(areas, "demo", "trying it out"),
        "fill",
        ".commands.demo:fill_database",
        "Fill the database with a plausible month of records, so that the console has something to show.",
        "aibridge demo fill",
        "aibridge demo fill --database sqlite:///other.sqlite",
        load=".commands.demo:load_for_demo",
    )
    fill.add_argument("--force", action="store_true", help="also where the database has records already")
    grafana = add_command(
        areas,
        "grafana",
        ".commands.grafana:write_boards",
        "Write boards and data sources for Grafana, and alert rules for Prometheus.",
        "aibridge grafana --out boards",
    )
    grafana.add_argument("--out", metavar="DIR", required=True, help="the folder to write to")


def _add_other_commands(areas: "Areas") -> None:
    add_command(
        add_area(areas, "config", "the configuration"),
        "check",
        ".commands.config_file:check_config",
        "Show the configuration as it takes effect, without its secrets.",
        "aibridge config check --config aibridge.toml",
    )
    add_command(
        add_area(areas, "tools", "the tools of MCP servers"),
        "list",
        ".commands.mcp_tools:list_tools",
        "List the tools that the configured MCP servers have now, and which of them models get.",
        "aibridge tools list --config aibridge.toml",
    )
