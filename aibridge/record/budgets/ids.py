"""The ids of caps as people and programs see them: ``spl_`` and the digits of a UUID."""

from uuid import UUID

_PREFIX = "spl_"


def show_budget_id(id_: UUID) -> str:
    """Return the id as text."""
    return f"{_PREFIX}{id_.hex}"


def read_budget_id(text: str) -> UUID:
    """Return the id with that text. ValueError if it is none."""
    prefix, digits = text[: len(_PREFIX)], text[len(_PREFIX) :]
    if prefix != _PREFIX or len(digits) != 32 or not digits.isalnum():
        raise ValueError("not an id of a cap")
    return UUID(hex=digits)
