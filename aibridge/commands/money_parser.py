"""The command line of the commands on money: ``aibridge cost …`` and ``budget …``."""

from typing import TYPE_CHECKING

from .arguments import DATE_HELP, UNSET, parse_actor, parse_budget_id, parse_date, parse_limit, typed
from .parsing import add_area, add_command

if TYPE_CHECKING:
    from .parsing import Areas


def add_cost_commands(areas: "Areas") -> None:
    """Add the commands on prices and costs."""
    cost = add_area(areas, "cost", "prices of models, and the cost of answers")
    show = add_command(
        cost,
        "show",
        ".commands.cost:show_cost",
        "Show what answers of a model are charged now, and by which table.",
        "aibridge cost show claude-opus-5-5",
    )
    show.add_argument("model", metavar="MODEL", help="as answers name it, such as claude-opus-5-5")
    show.add_argument("--provider", metavar="NAME", help="only this configured provider; default: all")

    reprice = add_command(
        cost,
        "reprice",
        ".commands.cost:reprice_records",
        "Find the costs of recorded tokens that have none yet, by the present prices. A gateway may run meanwhile.",
        "aibridge cost reprice --config aibridge.toml --since 2026-11-01",
        "aibridge cost reprice --config aibridge.toml --since 2026-11-01 --all",
        uses_database=True,
    )
    reprice.add_argument("--since", metavar="DATE", required=True, type=typed(parse_date), help=DATE_HELP)
    reprice.add_argument("--all", dest="everything", action="store_true", help="those that have a cost, too")


def add_budget_commands(areas: "Areas") -> None:
    """Add the commands on caps on money."""
    budget = add_area(areas, "budget", "caps on money")
    set_ = add_command(
        budget,
        "set",
        ".commands.budget:set_budget",
        "Set a cap, or change it. It holds from the next request on, on every gateway of the database.",
        "aibridge budget set --config aibridge.toml --organization --monthly 500",
        "aibridge budget set --config aibridge.toml --group research --weekly 80",
        "aibridge budget set --config aibridge.toml --actor alice --daily 12.50",
        uses_database=True,
    )
    remove = add_command(
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
        add_command(
            budget,
            name,
            f".commands.budget:{name}_budgets",
            title,
            f"aibridge budget {name} --config aibridge.toml",
            uses_database=True,
        )
