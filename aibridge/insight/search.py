"""The search in prompts and in the arguments of tools."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Text, cast, literal, select

from ..errors import AIBridgeError
from ..record.schema import interceptions, tool_usages, user_prompts
from ..record.search_index import INDEXES, has_words, is_enabled
from .conditions import of_interceptions, one_page
from .cursors import Page, make_page
from .filters import Filter, InvalidParameter
from .rows import SearchHit

MOST_WORDS = 10
_AROUND = 100
"""Characters of an excerpt before and behind the first word."""


class SearchOff(AIBridgeError):
    """There is no index to search in."""

    def __init__(self) -> None:
        super().__init__("Search is not enabled. Run aibridge db search enable.")


def search(connection: Connection, wanted: Filter, words: str) -> Page[SearchHit]:
    """Return the prompts and tool calls that have all words, newest first. `SearchOff` if there is no index."""
    if not is_enabled(connection):
        raise SearchOff
    asked = words.replace("\0", " ").split()
    if not asked or len(asked) > MOST_WORDS:
        raise InvalidParameter("q", f"Parameter 'q' must have 1 to {MOST_WORDS} words.")
    hits = [hit for index in INDEXES for hit in _hits(connection, index, wanted, asked)]
    hits.sort(key=lambda hit: (hit.created_at, hit.id), reverse=True)
    return make_page(hits[: wanted.limit + 1], wanted.limit, lambda hit: (hit.created_at, hit.id))


def _hits(connection: Connection, index: str, wanted: Filter, words: Sequence[str]) -> Iterator[SearchHit]:
    """Yield the newest rows of an index's table that have all words."""
    is_prompt = index == INDEXES[0]
    table: Any = user_prompts if is_prompt else tool_usages
    i, content = interceptions.c, table.c.prompt if is_prompt else cast(table.c.input, Text)
    tool = literal(None, Text).label("tool") if is_prompt else table.c.tool
    columns = (table.c.id, table.c.interception_id, table.c.created_at, tool, content.label("text"))
    about = (i.initiator_id, i.provider_name, i.model, i.client, i.client_session_id)
    query = select(*columns, *about).join_from(table, interceptions)
    query = query.where(has_words(connection.dialect.name, index, words), of_interceptions(wanted))
    page = one_page(query, wanted, (table.c.created_at, table.c.id))
    for row in connection.execute(page).mappings():
        values = dict(row)
        excerpt = _excerpt(values.pop("text"), words)
        yield SearchHit(kind="prompt" if is_prompt else "tool_call", excerpt=excerpt, **values)


def _excerpt(content: str, words: Sequence[str]) -> str:
    """Return the text around the first place where one of the words stands."""
    folded = content.casefold()
    places = [place for word in words if (place := folded.find(word.casefold())) >= 0]
    start = max(0, min(places, default=0) - _AROUND)
    end = start + 2 * _AROUND
    return f"{'…' if start else ''}{content[start:end]}{'…' if end < len(content) else ''}"
