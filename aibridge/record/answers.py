"""Finding an answer whose figures are not final yet, by the provider's id."""

from sqlalchemy import select

from .database import open_reader, plain_errors
from .records import OpenAnswer
from .schema import token_usages


def find_open_answer(url: str, provider_response_id: str) -> OpenAnswer | None:
    """Blocks. RecordingError where the database can't be reached."""
    wanted = select(token_usages.c.interception_id, token_usages.c.id, token_usages.c.metadata).where(
        token_usages.c.provider_response_id == provider_response_id
    )
    with plain_errors(url), open_reader(url).connect() as connection:
        for interception_id, usage_id, metadata in connection.execute(wanted.order_by(token_usages.c.created_at)):
            if metadata.get("complete") is False:
                return OpenAnswer(interception_id, usage_id)
    return None
