"""The audit: who did or saw what, when and from where. Entries are added, and never changed."""

import getpass
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from attrs import Factory, frozen
from sqlalchemy import Connection, insert

from .schema import audit
from .values import bounded, new_id, utc_now


@frozen(kw_only=True)
class AuditEntry:
    """An entry of the audit. It has names, ids and numbers, never content."""

    actor: str
    """The person who did it."""
    origin: str
    """The place from which it was done: an address, or the user and host of a command line."""
    action: str
    """A word or two, such as ``erase`` or ``view session``."""
    subject: str
    """The person or thing that it was done to: a name or an id; empty if there is none."""
    details: Mapping[str, object] = Factory(dict)
    """Further facts as JSON values."""
    created_at: datetime = Factory(utc_now)


class EntryMaker(Protocol):
    """Makes the entries of what one person does: `operator_entry` is the maker of commands."""

    def __call__(self, action: str, subject: str, **details: object) -> AuditEntry:
        """Return the entry of an action."""


def add_entry(connection: Connection, entry: AuditEntry) -> None:
    """Add an entry in the transaction of a connection: what was done and its entry are stored together."""
    texts = {name: bounded(getattr(entry, name)) for name in ("actor", "origin", "action", "subject")}
    row = {"id": new_id(), "created_at": entry.created_at, "details": dict(entry.details), **texts}
    connection.execute(insert(audit).values(row))


def operator_entry(action: str, subject: str, **details: object) -> AuditEntry:
    """Return the entry for a command that the operator of this machine runs."""
    try:
        user = os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # in a container the user may have no name
        user = str(os.getuid())
    return AuditEntry(
        actor=user, origin=f"command line of {socket.gethostname()}", action=action, subject=subject, details=details
    )
