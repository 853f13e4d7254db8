"""The commands on people: ``aibridge users …`` and ``aibridge erase``."""

import secrets
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from time import sleep

from ..config.model import Config
from ..dumps.folder import remove_dumps
from ..errors import AIBridgeError, ConfigError
from ..identity.user_store import UserStore
from ..record import migrations, recovery
from ..record.database import printable
from ..record.erasure import count_interceptions, erase, is_taken
from ..record.store import Store
from ..record.values import bounded
from .db import PAUSE, open_store
from .output import Progress, align_columns, confirm, write_note


def list_users(config: Config) -> Iterator[str]:
    """List all users: those with keys, with interceptions, and the disabled ones."""
    lines = [("USER", "VALID KEYS", "LAST REQUEST", "DISABLED")]
    for user in _user_store(config).all():
        times = [at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else "-" for at in (user.last_request_at, user.disabled_at)]
        lines.append((user.actor, str(user.keys), times[0], times[1]))
    yield from align_columns(lines)


def disable_user(config: Config, actor: str) -> Iterator[str]:
    """Refuse all requests of a user. Every gateway process does so within five seconds."""
    store = _user_store(config)
    _warn_of_stranger(store, actor)
    if store.disable(actor):
        yield f"{actor} is disabled"
    else:
        yield f"{actor} is disabled already"


def enable_user(config: Config, actor: str) -> Iterator[str]:
    """Let a disabled user in again; keys that were valid are valid again."""
    store = _user_store(config)
    _warn_of_stranger(store, actor)
    if not store.enable(actor):
        raise ConfigError("command line", "NAME", f"{actor} is not disabled")
    yield f"{actor} is enabled"


def forget_user(
    config: Config, actor: str, keep_figures: bool, pseudonym: str | None, dry_run: bool, yes: bool
) -> Iterator[str]:
    """Disable a user, and erase everything that belongs to the user."""
    store = _user_store(config)
    _check_pseudonym(config, actor, pseudonym)
    _warn_of_stranger(store, actor)
    if not dry_run:
        if not yes:
            confirm(f"Disable {actor}, and erase everything of theirs from {printable(config.database.url)}?")
        store.disable(actor)
        if seconds := store.accepted_for(actor):  # a request that is accepted now would be recorded after the erasure
            write_note(f"waiting {seconds:.0f} s, until every running gateway refuses {actor}")
            sleep(seconds)
    yield from _erase(config, actor, keep_figures, pseudonym, dry_run, True)


def erase_actor(
    config: Config, actor: str, keep_figures: bool, pseudonym: str | None, dry_run: bool, yes: bool
) -> Iterator[str]:
    """Erase an actor: content, conversations, keys and name; the figures too, unless they are kept."""
    store = _user_store(config)
    _check_pseudonym(config, actor, pseudonym)
    _warn_of_stranger(store, actor)
    yield from _erase(config, actor, keep_figures, pseudonym, dry_run, yes)


def _erase(
    config: Config, actor: str, keep_figures: bool, pseudonym: str | None, dry_run: bool, yes: bool
) -> Iterator[str]:
    """Erase an actor, or say how much there is to erase; ask before that unless the answer is `yes`."""
    if keep_figures and pseudonym is None:
        pseudonym = f"erased-{secrets.token_hex(4)}"
    with closing(open_store(config)) as store:
        due, in_progress = count_interceptions(store, actor)
        if dry_run:
            yield f"{due} interceptions would be erased; {in_progress} are in progress"
            return
        if not yes:
            kept = f", and keep their figures as {pseudonym}" if pseudonym else ""
            confirm(f"Erase {actor} and {due} interceptions from {printable(store.url)}{kept}?")
        folders = {Path(each.dump_dir) for each in config.providers.values() if each.dump_dir}
        yield from _erase_everywhere(store, config.database.spool_dir, folders, actor, due, pseudonym)
        _require_end(store, config.database.spool_dir, actor)
    if pseudonym:
        yield f"the figures are kept under the name {pseudonym}"


def _warn_of_stranger(store: UserStore, actor: str) -> None:
    """Say that nobody of that name was seen. It may be misspelt; but who has sent nothing yet can be kept out, too."""
    if not store.has_seen(actor):
        write_note(f"no user {actor} has been seen: nobody of that name has a key or has sent a request")


def _check_pseudonym(config: Config, actor: str, pseudonym: str | None) -> None:
    """Raise ConfigError if a pseudonym is the name itself, or that of somebody else."""
    if pseudonym is None:
        return
    if bounded(pseudonym) == bounded(actor):
        raise ConfigError("command line", "--pseudonym", "must not be the name itself")
    with closing(open_store(config)) as store:
        if is_taken(store, pseudonym, actor):
            raise ConfigError(
                "command line", "--pseudonym", f"{pseudonym} has keys or requests already; choose a name that is free"
            )


def _erase_everywhere(
    store: Store, spool_dir: str | None, dump_folders: Collection[Path], actor: str, due: int, pseudonym: str | None
) -> Iterator[str]:
    """Erase an actor in this machine's spools and dumps, and in the database."""
    erased = Counter(interceptions=0)
    if spool_dir:
        # What ended processes have left moves to the database first, and is erased there.
        for _ in recovery.flush_spools(store, Path(spool_dir)):
            pass
        erased["refused rows of the spool"] = recovery.erase_refused(store, Path(spool_dir), actor)
    with Progress("interceptions erased", due) as progress:
        for step in erase(store, actor, pseudonym):
            erased[step.kind] += step.rows
            if removed := sum(remove_dumps(folder, step.interceptions) for folder in dump_folders):
                erased["dumps"] += removed
            progress.advance(len(step.interceptions))
            sleep(PAUSE)
    yield from (f"{rows} {kind} erased" for kind, rows in erased.items())


def _require_end(store: Store, spool_dir: str | None, actor: str) -> None:
    """Raise AIBridgeError if a running gateway has something that could not be erased yet."""
    left, in_progress = count_interceptions(store, actor)
    if left or in_progress:
        raise AIBridgeError(
            f"not all is erased: {left + in_progress} interceptions of {actor} are in progress or new;"
            " run the command again when they have ended"
        )
    spools = recovery.report_spools(Path(spool_dir)) if spool_dir else ()
    if waiting := sum(report.rows for report in spools if report.is_alive):
        raise AIBridgeError(
            f"not all is erased: {waiting} rows wait in the spool of a running gateway, and may be {actor}'s;"
            " run the command again when they are in the database"
        )


def _user_store(config: Config) -> UserStore:
    migrations.require_current(config.database.url)
    return UserStore(config.database.url)
