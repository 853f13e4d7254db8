"""The search in prompts and in the arguments of tools."""

from sqlalchemy import Connection

from ..errors import AIBridgeError
from .cursors import Page
from .filters import Filter
from .rows import SearchHit


class SearchOff(AIBridgeError):
    """There is no index to search in."""

    def __init__(self) -> None:
        super().__init__("Search is not enabled. Run aibridge db search enable.")


def search(connection: Connection, wanted: Filter, words: str) -> Page[SearchHit]:
    """Return the prompts and tool calls that have all words, newest first. `SearchOff` if there is no index."""
    raise SearchOff
