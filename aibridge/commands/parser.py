"""The parser of the command line.

A command names its function as ``module:function``, and nothing of it is imported before it is run: help and completion
are quick that way.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from .. import __version__
from .arguments import (
    UNSET,
    parse_actor,
    parse_budget_id,
    parse_date,
    parse_duration,
    parse_id,
    parse_item,
    parse_limit,
    parse_public_url,
    typed,
)
from .clients import CLIENTS

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    Areas = _SubParsersAction[ArgumentParser]

_ROLES = ("viewer", "auditor", "admin")
_USER = "as aibridge users list shows it"
_DATE = "such as 2026-01-31, or 2026-01-31T12:00; in UTC"


def make_parser() -> ArgumentParser:
    """Return the parser.

    Each command sets ``run``, the name of its function, and the arguments to call it with; ``load``, the name of the
    function that reads its configuration; ``uses_database`` and ``is_data`` (its output is UTF-8 in every locale).
    """
    parser = ArgumentParser(
        prog="aibridge",
        description="The aibridge gateway, and its operator's tool.",
        epilog=_examples("aibridge init", "aibridge doctor --config aibridge.toml", "aibridge run --demo"),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"aibridge {__version__}")
    areas = parser.add_subparsers(required=True, metavar="AREA")
    areas.add_parser("run", help="run the gateway; aibridge run --help has its options")
    _add_first_run_commands(areas)
    _add_client_commands(areas)
    _add_database_commands(areas)
    _add_key_commands(areas)
    _add_user_commands(areas)
    _add_console_commands(areas)
    _add_demo_commands(areas)
    _add_other_commands(areas)
    _add_cost_commands(areas)
    _add_budget_commands(areas)
    _add_export(areas)
    return parser


def _add_first_run_commands(areas: "Areas") -> None:
    init = _add(
        areas,
        "init",
        ".commands.init:write_config",
        "Write a commented configuration file to begin with.",
        "aibridge init",
        "aibridge init --config /etc/aibridge/aibridge.toml",
        load=".commands.init:choose_target",
    )
    init.add_argument("--force", action="store_true", help="replace a file that exists")

    doctor = _add(
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
    setup = _add(
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

    completion = _add(
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


def _add_database_commands(areas: "Areas") -> None:
    database = _area(areas, "db", "the database")
    _add(
        database,
        "upgrade",
        ".commands.db:upgrade_database",
        "Bring the database's tables to this version's schema.",
        "aibridge db upgrade --config aibridge.toml",
        uses_database=True,
    )
    downgrade = _add(
        database,
        "downgrade",
        ".commands.db:downgrade_database",
        "Take the database's tables back to those of an earlier version. No gateway may run meanwhile.",
        "aibridge db downgrade --config aibridge.toml 0007",
        uses_database=True,
    )
    downgrade.add_argument("revision", metavar="REVISION", help="of the earlier version, as its db current shows it")
    downgrade.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    _add(
        database,
        "current",
        ".commands.db:show_revision",
        "Show the revision of the database's tables.",
        "aibridge db current --database postgresql://aibridge@db.example/aibridge",
        uses_database=True,
    )
    _add_row_commands(database)


def _add_row_commands(database: "Areas") -> None:
    spool = _add(
        database,
        "spool",
        ".commands.db:show_spool",
        "Show the rows that wait on this machine for the database.",
        "aibridge db spool --config aibridge.toml --flush",
        uses_database=True,
    )
    spool.add_argument(
        "--flush", action="store_true", help="move the rows that ended processes have left into the database"
    )
    purge = _add(
        database,
        "purge",
        ".commands.db:purge_records",
        "Delete the records before a date. A gateway may run meanwhile.",
        "aibridge db purge --config aibridge.toml --before 2026-01-31 --dry-run",
        uses_database=True,
    )
    purge.add_argument("--before", metavar="DATE", required=True, type=typed(parse_date), help=_DATE)
    purge.add_argument("--dry-run", action="store_true", help="say how many, and delete nothing")
    purge.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    rollup = _add(
        database,
        "rollup",
        ".commands.db:roll_up",
        "Bring the sums and sessions that the console shows up to date. A running gateway does so by itself.",
        "aibridge db rollup --config aibridge.toml",
        "aibridge db rollup --config aibridge.toml --rebuild",
        uses_database=True,
    )
    rollup.add_argument("--rebuild", action="store_true", help="make them all again, as far as their records are kept")
    _add_search_commands(database)


def _add_search_commands(database: "Areas") -> None:
    search = _area(database, "search", "the search in prompts and tools' arguments")
    _add(
        search,
        "enable",
        ".commands.db:enable_search",
        "Make the index for the search in prompts and tools' arguments, again if it is there.",
        "aibridge db search enable --config aibridge.toml",
        uses_database=True,
    )
    _add(
        search,
        "disable",
        ".commands.db:disable_search",
        "Remove the index for the search.",
        "aibridge db search disable --config aibridge.toml",
        uses_database=True,
    )


def _add_demo_commands(areas: "Areas") -> None:
    fill = _add(
        _area(areas, "demo", "trying it out"),
        "fill",
        ".commands.demo:fill_database",
        "Fill the database with a plausible month of records, so that the console has something to show.",
        "aibridge demo fill",
    )
    fill.add_argument("--force", action="store_true", help="also where the database has records already")
    grafana = _add(
        areas,
        "grafana",
        ".commands.grafana:write_boards",
        "Write boards and data sources for Grafana, and alert rules for Prometheus.",
        "aibridge grafana --out boards",
    )
    grafana.add_argument("--out", metavar="DIR", required=True, help="the folder to write to")


def _add_key_commands(areas: "Areas") -> None:
    keys = _area(areas, "keys", "the gateway's own keys")
    create = _add(
        keys,
        "create",
        ".commands.gateway_keys:create_key",
        "Create a gateway key for an actor, and print it. It can't be shown again.",
        "aibridge keys create --config aibridge.toml --actor alice --meta team=core --expires 90d",
        uses_database=True,
    )
    create.add_argument("--actor", type=typed(parse_actor), help="the key's owner")
    create.add_argument(
        "--meta",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=typed(parse_item),
        help="metadata of the owner",
    )
    create.add_argument(
        "--expires", metavar="TIME", type=typed(parse_duration), help="lifetime of the key, such as 90d or 12h"
    )
    create.add_argument(
        "--console",
        metavar="ROLE",
        choices=_ROLES,
        help=f"a key for the console's API, with this role: {', '.join(_ROLES)}; not for the gateway itself",
    )
    _add_existing_key_commands(keys)


def _add_existing_key_commands(keys: "Areas") -> None:
    _add(
        keys,
        "list",
        ".commands.gateway_keys:list_keys",
        "List all keys by their ids, each with its last two characters as a hint.",
        "aibridge keys list --config aibridge.toml",
        uses_database=True,
    )
    revoke = _add(
        keys,
        "revoke",
        ".commands.gateway_keys:revoke_key",
        "Revoke a key. Every gateway process refuses it within five seconds.",
        "aibridge keys revoke --config aibridge.toml 0199f3b2-7c1d-7e40-8a51-6f0d2b9c4e17",
        uses_database=True,
    )
    revoke.add_argument("key_id", metavar="ID", type=typed(parse_id), help="as the list shows it")


def _add_user_commands(areas: "Areas") -> None:
    users = _area(areas, "users", "the users of the gateway")
    _add(
        users,
        "list",
        ".commands.people:list_users",
        "List all users: those with keys, with interceptions, and the disabled ones.",
        "aibridge users list --config aibridge.toml",
        uses_database=True,
    )
    disable = _add(
        users,
        "disable",
        ".commands.people:disable_user",
        "Refuse all requests of a user, within five seconds, in every mode of authentication.",
        "aibridge users disable --config aibridge.toml alice",
        uses_database=True,
    )
    enable = _add(
        users,
        "enable",
        ".commands.people:enable_user",
        "Let a disabled user in again; keys that were valid are valid again.",
        "aibridge users enable --config aibridge.toml alice",
        uses_database=True,
    )
    for command in (disable, enable):
        command.add_argument("actor", metavar="NAME", type=typed(parse_actor), help=_USER)
    _add_erasing_commands(areas, users)


def _add_erasing_commands(areas: "Areas", users: "Areas") -> None:
    forget = _add(
        users,
        "forget",
        ".commands.people:forget_user",
        "Disable a user, and erase everything that belongs to the user.",
        "aibridge users forget --config aibridge.toml alice --keep-figures",
        uses_database=True,
    )
    erase = _add(
        areas,
        "erase",
        ".commands.people:erase_actor",
        "Erase an actor: content, conversations, keys and name; the figures too, unless they are kept.",
        "aibridge erase --config aibridge.toml --actor alice --dry-run",
        "aibridge erase --config aibridge.toml --actor alice --keep-figures --yes",
        uses_database=True,
    )
    forget.add_argument("actor", metavar="NAME", type=typed(parse_actor), help=_USER)
    erase.add_argument("--actor", metavar="NAME", required=True, type=typed(parse_actor), help=_USER)
    for command in (forget, erase):
        command.add_argument("--keep-figures", action="store_true", help="keep tokens and costs under a pseudonym")
        command.add_argument(
            "--pseudonym", metavar="NAME", type=typed(parse_actor), help="keep tokens and costs under this name"
        )
        command.add_argument("--dry-run", action="store_true", help="say how much, and erase nothing")
        command.add_argument("--yes", action="store_true", help="do not ask on a terminal")


def _add_console_commands(areas: "Areas") -> None:
    users = _area(_area(areas, "console", "the console"), "user", "users who sign in with a password")
    add = _add(
        users,
        "add",
        ".commands.console_users:add_user",
        "Add a user of the console. The password is asked for, or read from a pipe.",
        "aibridge console user add --config aibridge.toml alice --role auditor",
        uses_database=True,
    )
    add.add_argument("name", metavar="NAME", type=typed(parse_actor))
    add.add_argument("--role", required=True, choices=_ROLES, help="viewer: figures; auditor: content too; admin: all")
    _add(
        users,
        "list",
        ".commands.console_users:list_users",
        "List the users of the console.",
        "aibridge console user list --config aibridge.toml",
        uses_database=True,
    )
    remove = _add(
        users,
        "remove",
        ".commands.console_users:remove_user",
        "Remove a user of the console, and end their sessions.",
        "aibridge console user remove --config aibridge.toml alice",
        uses_database=True,
    )
    remove.add_argument("name", metavar="NAME", type=typed(parse_actor))


def _add_other_commands(areas: "Areas") -> None:
    _add(
        _area(areas, "config", "the configuration"),
        "check",
        ".commands.config_file:check_config",
        "Show the configuration as it takes effect, without its secrets.",
        "aibridge config check --config aibridge.toml",
    )
    _add(
        _area(areas, "tools", "the tools of MCP servers"),
        "list",
        ".commands.mcp_tools:list_tools",
        "List the tools that the configured MCP servers have now, and which of them models get.",
        "aibridge tools list --config aibridge.toml",
    )


def _add_cost_commands(areas: "Areas") -> None:
    cost = _area(areas, "cost", "prices of models, and the cost of answers")
    show = _add(
        cost,
        "show",
        ".commands.cost:show_cost",
        "Show what answers of a model are charged now, and by which table.",
        "aibridge cost show claude-opus-5-5",
    )
    show.add_argument("model", metavar="MODEL", help="as answers name it, such as claude-opus-5-5")
    show.add_argument("--provider", metavar="NAME", help="only this configured provider; default: all")

    reprice = _add(
        cost,
        "reprice",
        ".commands.cost:reprice_records",
        "Find the costs of recorded tokens that have none yet, by the present prices. A gateway may run meanwhile.",
        "aibridge cost reprice --config aibridge.toml --since 2026-11-01",
        "aibridge cost reprice --config aibridge.toml --since 2026-11-01 --all",
        uses_database=True,
    )
    reprice.add_argument("--since", metavar="DATE", required=True, type=typed(parse_date), help=_DATE)
    reprice.add_argument("--all", dest="everything", action="store_true", help="those that have a cost, too")


def _add_budget_commands(areas: "Areas") -> None:
    budget = _area(areas, "budget", "caps on money")
    set_ = _add(
        budget,
        "set",
        ".commands.budget:set_budget",
        "Set a cap, or change it. It holds from the next request on, on every gateway of the database.",
        "aibridge budget set --config aibridge.toml --organization --monthly 500",
        "aibridge budget set --config aibridge.toml --group research --weekly 80",
        "aibridge budget set --config aibridge.toml --actor alice --daily 12.50",
        uses_database=True,
    )
    remove = _add(
        budget,
        "remove",
        ".commands.budget:remove_budget",
        "Remove a cap, from the next request on.",
        "aibridge budget remove --config aibridge.toml spl_0199f3b27c1d7e408a516f0d2b9c4e17",
        uses_database=True,
    )
    whose = set_.add_mutually_exclusive_group(required=True)
    whose.add_argument("--organization", action="store_true", help="what all actors spend together")
    whose.add_argument("--group", metavar="NAME", type=typed(parse_actor), help="what a group's actors spend together")
    whose.add_argument("--actor", metavar="NAME", type=typed(parse_actor), help="what an actor spends")
    limits = set_.add_mutually_exclusive_group(required=True)
    for period in ("daily", "weekly", "monthly"):
        limits.add_argument(
            f"--{period}",
            metavar="USD",
            type=typed(parse_limit),
            default=UNSET,
            help="the limit; none to count only",
        )
    remove.add_argument("budget_id", metavar="ID", type=typed(parse_budget_id), help="as budget list shows it")
    for name, title in (
        ("list", "List all caps, with what is spent and reserved in their present periods."),
        ("check", "Compare what is spent and reserved with the rows of the interceptions, and say what differs."),
    ):
        _add(
            budget,
            name,
            f".commands.budget:{name}_budgets",
            title,
            f"aibridge budget {name} --config aibridge.toml",
            uses_database=True,
        )


def _add_export(areas: "Areas") -> None:
    export = _add(
        areas,
        "export",
        ".commands.db:export_records",
        "Write interceptions with all their rows, ordered by time.",
        "aibridge export --config aibridge.toml --since 2026-01-01 --output january.jsonl",
        "aibridge export --config aibridge.toml --actor alice --format csv > alice.csv",
        uses_database=True,
        is_data=True,
    )
    export.add_argument("--since", metavar="DATE", type=typed(parse_date), help=_DATE)
    export.add_argument(
        "--until", metavar="DATE", type=typed(parse_date), help="end of the span, itself excluded; default: now"
    )
    export.add_argument("--actor", help="only this actor's interceptions; default: everyone's")
    export.add_argument(
        "--format", dest="form", choices=("jsonl", "csv"), default="jsonl", help="only jsonl has all of each row"
    )
    export.add_argument("--output", metavar="FILE", help="only its owner may read it; default: standard output")
    export.add_argument("--force", action="store_true", help="write over a file that exists")


def _area(areas: "Areas", name: str, title: str) -> "Areas":
    """Add an area of commands. ``aibridge NAME --help`` lists them."""
    return areas.add_parser(name, help=title, description=title).add_subparsers(required=True, metavar="COMMAND")


def _add(
    parent: "Areas",
    name: str,
    run: str,
    title: str,
    *examples: str,
    load: str = ".config.model:load_config",
    uses_database: bool = False,
    is_data: bool = False,
    reads_config: bool = True,
) -> ArgumentParser:
    """Add a command, with the options of all commands that read a configuration."""
    command = parent.add_parser(
        name,
        help=title,
        description=title,
        epilog=_examples(*examples),
        formatter_class=RawDescriptionHelpFormatter,
    )
    command.set_defaults(config=None, database=None)
    if reads_config:
        command.add_argument("--config", metavar="FILE", help="TOML file with the configuration")
        command.add_argument("--database", metavar="URL", help="SQLAlchemy URL of the records")
    command.set_defaults(run=run, load=load, uses_database=uses_database, is_data=is_data)
    return command


def _examples(*lines: str) -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines)])
