"""The command line of the commands on people: ``aibridge keys …``, ``users …``, ``erase`` and ``console …``."""

from typing import TYPE_CHECKING

from .arguments import parse_actor, parse_duration, parse_id, parse_item, typed
from .parsing import add_area, add_command

if TYPE_CHECKING:
    from .parsing import Areas

_ROLES = ("viewer", "auditor", "admin")
_USER = "as aibridge users list shows it"


def add_key_commands(areas: "Areas") -> None:
    """Add the commands on the gateway's own keys."""
    keys = add_area(areas, "keys", "the gateway's own keys")
    create = add_command(
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
    add_command(
        keys,
        "list",
        ".commands.gateway_keys:list_keys",
        "List all keys by their ids, each with its last two characters as a hint.",
        "aibridge keys list --config aibridge.toml",
        uses_database=True,
    )
    revoke = add_command(
        keys,
        "revoke",
        ".commands.gateway_keys:revoke_key",
        "Revoke a key. Every gateway process refuses it within five seconds.",
        "aibridge keys revoke --config aibridge.toml 0199f3b2-7c1d-7e40-8a51-6f0d2b9c4e17",
        uses_database=True,
    )
    revoke.add_argument("key_id", metavar="ID", type=typed(parse_id), help="as the list shows it")


def add_user_commands(areas: "Areas") -> None:
    """Add the commands on users, and on what belongs to them."""
    users = add_area(areas, "users", "the users of the gateway")
    add_command(
        users,
        "list",
        ".commands.people:list_users",
        "List all users: those with keys, with interceptions, and the disabled ones.",
        "aibridge users list --config aibridge.toml",
        uses_database=True,
    )
    disable = add_command(
        users,
        "disable",
        ".commands.people:disable_user",
        "Refuse all requests of a user, within five seconds, in every mode of authentication.",
        "aibridge users disable --config aibridge.toml alice",
        uses_database=True,
    )
    enable = add_command(
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
    forget = add_command(
        users,
        "forget",
        ".commands.people:forget_user",
        "Disable a user, and erase everything that belongs to the user.",
        "aibridge users forget --config aibridge.toml alice --keep-figures",
        uses_database=True,
    )
    erase = add_command(
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


def add_console_commands(areas: "Areas") -> None:
    """Add the commands on the console's accounts."""
    users = add_area(add_area(areas, "console", "the console"), "user", "users who sign in with a password")
    add = add_command(
        users,
        "add",
        ".commands.console_users:add_user",
        "Add a user of the console. The password is asked for, or read from a pipe.",
        "aibridge console user add --config aibridge.toml alice --role auditor",
        uses_database=True,
    )
    add.add_argument("name", metavar="NAME", type=typed(parse_actor))
    add.add_argument("--role", required=True, choices=_ROLES, help="viewer: figures; auditor: content too; admin: all")
    add_command(
        users,
        "list",
        ".commands.console_users:list_users",
        "List the users of the console.",
        "aibridge console user list --config aibridge.toml",
        uses_database=True,
    )
    remove = add_command(
        users,
        "remove",
        ".commands.console_users:remove_user",
        "Remove a user of the console, and end their sessions.",
        "aibridge console user remove --config aibridge.toml alice",
        uses_database=True,
    )
    remove.add_argument("name", metavar="NAME", type=typed(parse_actor))
