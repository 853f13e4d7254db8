"""How an injected tool is called towards the model."""

import re
from hashlib import sha256

LONGEST = 64
"""Characters that every API takes, OpenAI's being the strictest: https://platform.openai.com/docs/api-reference/chat"""

_REFUSED = re.compile(r"[^a-zA-Z0-9_-]")
_MARK = 10


def injected_name(server: str, tool: str) -> str:
    """``bmcp_{server}_{tool}``; where an API would refuse that, as much of it as it takes, and a hash of all of it.

    It depends on nothing else, so it is the same in every process and after every restart. No underscore is part of a
    server's name, so tools of two servers never meet in one.
    """
    plain = f"bmcp_{server}_{tool}"
    if len(plain) <= LONGEST and not _REFUSED.search(plain):
        return plain
    mark = sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK]
    return f"{_REFUSED.sub('_', plain)[: LONGEST - 1 - _MARK]}_{mark}"
