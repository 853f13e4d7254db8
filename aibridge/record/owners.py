"""The look-up of who made an object that a provider stores."""

from sqlalchemy import Engine, select

from .database import plain_errors
from .records import Owner
from .schema import interceptions, stored_objects, token_usages
from .values import bounded


def find_owner(reader: Engine, url: str, provider_name: str, object_id: str) -> Owner | None:
    """Return the owner of an object or a response; None if no row tells. Blocks: call it on a thread.

    Raise `RecordingError` if the database can't be read.
    """
    object_id = bounded(object_id)  # as the rows have it
    answered = (
        select(interceptions.c.initiator_id, interceptions.c.credential_hint)
        .join(token_usages, token_usages.c.interception_id == interceptions.c.id)
        .where(token_usages.c.provider_response_id == object_id, interceptions.c.provider_name == provider_name)
    )
    made = select(stored_objects.c.initiator_id, stored_objects.c.credential_hint).where(
        stored_objects.c.object_id == object_id, stored_objects.c.provider_name == provider_name
    )
    with plain_errors(url), reader.connect() as connection:
        row = connection.execute(answered.limit(1)).first() or connection.execute(made.limit(1)).first()
    return Owner(row.initiator_id, row.credential_hint) if row is not None else None
