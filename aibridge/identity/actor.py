"""Who is asking."""

from collections.abc import Mapping
from typing import Any

from attrs import Factory, frozen


@frozen
class Actor:
    """The person or program on whose behalf a request is made: an id, and what else is known of it."""

    id: str
    metadata: Mapping[str, Any] = Factory(dict)
