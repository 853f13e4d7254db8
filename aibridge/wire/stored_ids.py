"""The ids of what a provider stores, as requests name them: what they go on from, files, and vector stores.

``{"type": "input_file", "file_id": …}``, ``{"type": "file", "file_id": …}``, ``"file_ids": […]`` of a container,
``input_file_id`` of a batch, and ``vector_store_ids`` of a search name such objects. The arguments of a tool call do
not, whatever they are called.
"""

import re
from collections.abc import Mapping

from .jsontext import JsonObject, nonempty_str

_ENDS = ("file_id", "vector_store_id")
"""The ends of the names of members that hold such an id; those with several have an "s" behind."""
_ESCAPED = re.compile(rb"\\u00(?:5[fF]|[67])")
"""An escaped letter, by which a name could be hidden."""
_CALLS = ("function_call", "tool_use")
"""The ends of the types of tool calls."""


def names_objects(raw: bytes) -> bool:
    """Return False if a JSON text names no object for sure. This is quick: most requests name none."""
    if b"file_id" in raw or b"store_id" in raw:
        return True
    return b"\\u00" in raw and _ESCAPED.search(raw) is not None


def object_ids(raw: bytes, document: JsonObject) -> list[str]:
    """Return the ids of the files and vector stores that a document names, each once. `raw` is its text."""
    if not names_objects(raw):
        return []
    found: dict[str, None] = {}
    groups: list[object] = [document]
    for group in groups:  # grows in the loop, by each nested group
        if isinstance(group, list):
            groups += [member for member in group if isinstance(member, dict | list)]
        elif isinstance(group, Mapping):
            is_call = (nonempty_str(group.get("type")) or "").endswith(_CALLS)
            for name, value in group.items():
                if isinstance(value, str) and name.endswith(_ENDS):
                    found[value] = None
                elif isinstance(value, list) and name.removesuffix("s").endswith(_ENDS):
                    found |= dict.fromkeys(each for each in value if isinstance(each, str))
                elif isinstance(value, dict | list) and not (is_call and name == "input"):
                    groups.append(value)
    return list(found)


def continued_ids(document: JsonObject) -> list[str]:
    """Return the ids of what the provider keeps of earlier requests, and a request goes on from."""
    # Each is looked up by its name: to go through the members of a large document would have all of it parsed.
    if "conversation" not in document and "previous_response_id" not in document and "thread" not in document:
        return []
    conversation, thread = document.get("conversation"), document.get("thread")
    found = [
        document.get("previous_response_id"),
        conversation.get("id") if isinstance(conversation, dict) else conversation,
        thread.get("previous_message_id") if isinstance(thread, dict) else None,
    ]
    return [name for each in found if (name := nonempty_str(each)) is not None]
