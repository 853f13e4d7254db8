"""Requests as the clouds' own clients make them, such as ``AnthropicBedrock`` and ``AnthropicVertex``.

They have the model in the path and the version in the body. From here on they are requests of Anthropic's API.
"""

import re
from collections.abc import Mapping

from attrs import frozen

from ...errors import BadRequest
from .. import json_splice, jsontext

_VERSION = re.compile(r"\d{4}-\d\d-\d\d")
_USUAL_VERSION = "2023-06-01"


@frozen
class CloudRequest:
    """The part of such a request that stands in its path."""

    model: str | None = None
    """None if the body names it."""
    streaming: bool = False
    """True for a stream that the body does not ask for."""
    framed: bool = False
    """True if the client expects a stream in Amazon's framing."""

    def restore(self, body: bytes) -> tuple[bytes, Mapping[bytes, bytes]]:
        """Return the body of Anthropic's API, and the headers that belong to it.

        Raise BadRequest if the body is no JSON object.
        """
        document = jsontext.load_object(body)
        if document is None:
            raise BadRequest("The request body must be a JSON object.")
        changes: dict[str, bytes | None] = {"anthropic_version": None, "anthropic_beta": None}
        if self.model is not None:
            changes["model"] = jsontext.dump(self.model)
        if self.streaming:
            changes["stream"] = b"true"
        version, betas = document.get("anthropic_version"), document.get("anthropic_beta")
        is_native = isinstance(version, str) and _VERSION.fullmatch(version)
        headers = {b"anthropic-version": str(version if is_native else _USUAL_VERSION).encode()}
        if isinstance(betas, list) and betas:
            flags = ",".join(flag for flag in betas if isinstance(flag, str) and flag.isascii() and flag.isprintable())
            headers[b"anthropic-beta"] = flags.encode()
        return json_splice.change_members(body, changes), headers
