"""Parts of a client's own request that a provider refuses by name: beta flags of a header, and fields of the body.

The words are Anthropic's ("Unexpected value(s) `x` for the `anthropic-beta` header", "tools.0.custom.x: Extra inputs
are not permitted") and Bedrock's ("invalid beta flag", which does not say which one; "#/tools/0: extraneous key [x] is
not permitted").
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from attrs import frozen

from ..wire.json_paths import Path, generalized, is_present, parse_path
from ..wire.jsontext import JsonObject
from .refusals import Addition

BETA = "beta"
FIELD = "field"

_ABOUT_BETAS = re.compile(rb"beta", re.IGNORECASE)
_UNNAMED_BETA = re.compile(
    rb"(invalid|unknown|unsupported|unrecognized) beta|anthropic_beta: Extra inputs", re.IGNORECASE
)
_EXTRA_FIELD = re.compile(rb"([A-Za-z_][\w-]*(?:\.[\w-]+)*)\W{1,4}Extra inputs are not permitted", re.IGNORECASE)
_EXTRANEOUS_KEY = re.compile(rb"(?:#((?:/[\w-]+)*): )?extraneous key \[([\w-]+)\] is not permitted", re.IGNORECASE)
"""Bedrock's words, with a JSON pointer to the object that has the key."""
_NEEDED = frozenset({"max_tokens", "messages", "model", "stream", "input", "thread"})
"""Fields without which a request would ask for something else."""


@frozen
class SentParts:
    """The parts of one request that may be refused."""

    betas: Sequence[str]
    document: JsonObject
    together: Mapping[str, Sequence[str]]
    """The fields that belong to a beta flag, by patterns of flags: the one is of no use without the other."""

    def refused(self, status: int, body: bytes, accepted: Collection[str]) -> list[Addition]:
        """Return the parts that an error refuses, with what belongs to them; empty for any other error.

        If the error does not name the flag, all flags are meant that were not `accepted` before.
        """
        if status != 400:
            return []
        betas: Sequence[str] = []
        if _ABOUT_BETAS.search(body):
            betas = [flag for flag in self.betas if _names(body, flag)]
            if not betas and _UNNAMED_BETA.search(body):
                betas = [flag for flag in self.betas if flag not in accepted] or self.betas
        names = [name.decode() for name in _EXTRA_FIELD.findall(body)]
        names += [b"/".join(found)[1:].decode().replace("/", ".") for found in _EXTRANEOUS_KEY.findall(body)]
        paths = [generalized(parse_path(name)) for name in names]
        fields = [path for path in paths if path[0] not in _NEEDED or len(path) > 1]
        fields = [path for path in fields if is_present(self.document, path)]
        flags = {*betas, *(flag for flag in self.betas if self._has_any(flag, fields))}
        fields += [path for flag in self.betas if flag in flags for path in self._fields_of(flag)]
        refused = [Addition(BETA, (), None, part=flag) for flag in self.betas if flag in flags]
        return refused + [Addition(FIELD, (), None, part=".".join(path)) for path in dict.fromkeys(fields)]

    def _has_any(self, flag: str, fields: Sequence[Path]) -> bool:
        own = {_plain(path) for path in self._fields_of(flag)}
        return any(_plain(path) in own for path in fields)

    def _fields_of(self, flag: str) -> Iterator[Path]:
        """Yield the fields that belong to a flag and are there."""
        for pattern, names in self.together.items():
            if fnmatchcase(flag, pattern):
                yield from (path for path in map(parse_path, names) if is_present(self.document, path))


def _names(body: bytes, flag: str) -> bool:
    """Return True if the text holds the flag, and not only a longer one that contains it."""
    return re.search(rb"(?<![\w-])%b(?![\w-])" % re.escape(flag.encode()), body) is not None


def _plain(path: Path) -> Path:
    """Return a path without the type that every tool of a client's own has."""
    return tuple(part for part in path if part != "custom")
