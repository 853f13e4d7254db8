"""Lists of what was said: prompts, and the search in prompts and tools' arguments."""

from sqlalchemy import Connection, select

from ..record.schema import interceptions, user_prompts
from .conditions import of_interceptions, one_page
from .cursors import Page, make_page
from .filters import Filter
from .rows import PromptRow
from .spans import is_of_spans, rare_spans


def prompts(connection: Connection, wanted: Filter, *, content: bool = False) -> Page[PromptRow]:
    """Return the prompts of interceptions, newest first, without their text unless content is asked for."""
    i, p = interceptions.c, user_prompts.c
    order = (p.created_at, p.id)
    columns = (p.id, p.interception_id, i.initiator_id, i.provider_name, i.model, i.client, i.client_session_id)
    query = select(*columns, p.prompt, p.created_at).join_from(user_prompts, interceptions)
    query = query.where(of_interceptions(wanted), is_of_spans(rare_spans(connection, wanted)))
    hidden = {} if content else {"prompt": None}
    rows = [PromptRow(**{**row, **hidden}) for row in connection.execute(one_page(query, wanted, order)).mappings()]
    return make_page(rows, wanted.limit, lambda row: (row.created_at, row.id))
