"""The tables of the console: its users, and the sessions of those who have signed in."""

from sqlalchemy import Column, Table, Text

from .column_types import UtcDateTime
from .schema import metadata

console_users = Table(
    "aibridge_console_users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("role", Text, nullable=False),
    Column("password", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
"""Users with a password, stored as its scrypt."""

console_sessions = Table(
    "aibridge_console_sessions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)
"""Sessions by the SHA-256 of their secret. Without a role of its own, a session has its user's."""
