"""Streams, bodies and requests as nobody should send them."""

import json

from hypothesis import strategies as st

from aibridge.wire.sse import frame_data

from .streams import frames

_ODD = st.sampled_from(
    [
        *(None, True, -1, 0, 3, 2**64, 1.5, 1e400, 10**30, "", "x", "\0", "\ud800", "[DONE]"),
        *([], [1], [[]], [None], {}, {"": []}, {"type": "x"}, {"type": "error"}, [{"a": None}]),
    ]
) | st.text(max_size=3)
_DEEP = json.loads("[" * 300 + "]" * 300)  # deeper than orjson writes


def places(value, path=()):
    """Yield the paths of all parts of a JSON value, its own first."""
    yield path
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            yield from places(one, (*path, key))


def changed(value, path, odd):
    """Return the value with another part at a path; `odd` is a list of that part, or empty to remove the path."""
    if not path:
        return odd[0] if odd else {}
    value = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and not odd:
        del value[path[0]]
    else:
        value[path[0]] = changed(value[path[0]], path[1:], odd)
    return value


@st.composite
def odd_documents(draw, value):
    """A JSON value that is wrong in some places."""
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(value))))
        value = changed(value, path, draw(st.just([]) | st.lists(_ODD, min_size=1, max_size=1)))
    return value


def odd_bodies(body):
    """A JSON body that is wrong in some places."""
    return odd_documents(json.loads(body)).map(lambda value: json.dumps(value).encode())


@st.composite
def odd_streams(draw, stream):
    """A stream whose frames are wrong, missing, doubled or out of order."""
    told = frames(stream)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(told) - 1))
        how = draw(st.sampled_from(["odd", "odd", "odd", "missing", "doubled", "moved"]))
        frame = told[at]
        if how == "doubled":
            told.insert(at, frame)
        elif how != "odd" and len(told) > 1:
            del told[at]
            if how == "moved":
                told.insert(draw(st.integers(0, len(told))), frame)
        elif (data := frame_data(frame)).startswith(b"{"):
            told[at] = frame.replace(data, draw(odd_bodies(data)))
    return b"".join(told)


KINDS = (None, True, 7, -1.5, "x", [], [None], ["x"], [{}], {}, {"type": "x"}, _DEEP)
"""A value of each kind."""


def everywhere(document):
    """The document with each kind of value in each of its places, one by one; it remains an object."""
    for path in places(document):
        for odd in KINDS:
            if path:
                yield changed(document, path, [odd])


@st.composite
def grafted(draw, samples):
    """Draw one of the sample objects, with parts of all samples, or odd values, in places where they don't belong."""
    document = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(list(places(document))))
        donor = draw(st.sampled_from(samples))
        part = value_at(donor, draw(st.sampled_from(list(places(donor)))))
        document = changed(document, path, [draw(st.just(part) | st.sampled_from(KINDS))])
    return document if isinstance(document, dict) else {"type": document}


def value_at(document, path):
    """The part of a document at a path."""
    for key in path:
        document = document[key]
    return document
