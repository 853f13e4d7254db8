"""Templates: Jinja's environment, with every value escaped."""

import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .formats import FILTERS, share

_NOT_ALLOWED = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_TEMPLATES = Path(__file__).parent / "templates"


@cache
def environment() -> Environment:
    """Return the environment of all templates. An undefined name is an error, never an empty place."""
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters.update(FILTERS)
    made.globals["share"] = share
    return made


def _visible(value: object) -> object:
    """Return a text without characters that HTML does not allow, such as control characters; any other value as it is.

    https://html.spec.whatwg.org/multipage/parsing.html#preprocessing-the-input-stream
    """
    return _NOT_ALLOWED.sub("\N{REPLACEMENT CHARACTER}", value) if type(value) is str else value


def render(template: str, values: dict[str, object]) -> bytes:
    """Return a page."""
    return environment().get_template(template).render(values).encode("utf-8", "replace")
