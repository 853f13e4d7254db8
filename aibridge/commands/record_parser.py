"""The command line of the commands on records: ``aibridge db …`` and ``export``."""

from typing import TYPE_CHECKING

from .arguments import DATE_HELP, parse_date, typed
from .parsing import add_area, add_command

if TYPE_CHECKING:
    from .parsing import Areas


def add_database_commands(areas: "Areas") -> None:
    """Add the commands on the database."""
    database = add_area(areas, "db", "the database")
    add_command(
        database,
        "upgrade",
        ".commands.db:upgrade_database",
        "Bring the database's tables to this version's schema.",
        "aibridge db upgrade --config aibridge.toml",
        uses_database=True,
    )
    downgrade = add_command(
        database,
        "downgrade",
        ".commands.db:downgrade_database",
        "Take the database's tables back to those of an earlier version. No gateway may run meanwhile.",
        "aibridge db downgrade --config aibridge.toml 0007",
        uses_database=True,
    )
    downgrade.add_argument("revision", metavar="REVISION", help="of the earlier version, as its db current shows it")
    downgrade.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    add_command(
        database,
        "current",
        ".commands.db:show_revision",
        "Show the revision of the database's tables.",
        "aibridge db current --database postgresql://aibridge@db.example/aibridge",
        uses_database=True,
    )
    _add_row_commands(database)


def _add_row_commands(database: "Areas") -> None:
    spool = add_command(
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
    purge = add_command(
        database,
        "purge",
        ".commands.db:purge_records",
        "Delete the records before a date. A gateway may run meanwhile.",
        "aibridge db purge --config aibridge.toml --before 2026-01-31 --dry-run",
        uses_database=True,
    )
    purge.add_argument("--before", metavar="DATE", required=True, type=typed(parse_date), help=DATE_HELP)
    purge.add_argument("--dry-run", action="store_true", help="say how many, and delete nothing")
    purge.add_argument("--yes", action="store_true", help="do not ask on a terminal")
    rollup = add_command(
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
    search = add_area(database, "search", "the search in prompts and tools' arguments")
    add_command(
        search,
        "enable",
        ".commands.db:enable_search",
        "Make the index for the search in prompts and tools' arguments, again if it is there.",
        "aibridge db search enable --config aibridge.toml",
        uses_database=True,
    )
    add_command(
        search,
        "disable",
        ".commands.db:disable_search",
        "Remove the index for the search.",
        "aibridge db search disable --config aibridge.toml",
        uses_database=True,
    )


def add_export(areas: "Areas") -> None:
    """Add the command that writes records to a file."""
    export = add_command(
        areas,
        "export",
        ".commands.db:export_records",
        "Write interceptions with all their rows, ordered by time.",
        "aibridge export --config aibridge.toml --since 2026-01-01 --output january.jsonl",
        "aibridge export --config aibridge.toml --actor alice --format csv > alice.csv",
        uses_database=True,
        is_data=True,
    )
    export.add_argument("--since", metavar="DATE", type=typed(parse_date), help=DATE_HELP)
    export.add_argument(
        "--until", metavar="DATE", type=typed(parse_date), help="end of the span, itself excluded; default: now"
    )
    export.add_argument("--actor", help="only this actor's interceptions; default: everyone's")
    export.add_argument(
        "--format", dest="form", choices=("jsonl", "csv"), default="jsonl", help="only jsonl has all of each row"
    )
    export.add_argument("--output", metavar="FILE", help="only its owner may read it; default: standard output")
    export.add_argument("--force", action="store_true", help="write over a file that exists")
