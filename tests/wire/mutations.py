"""Streams, bodies and requests as nobody should send them."""

import json

from hypothesis import strategies as st

from aibridge.wire.sse import frame_data

from .streams import frames

_ODD = st.sampled_from(
    [None, True, -1, 0, 3, 1.5, 10**30, "", "x", "\ud800", "[DONE]", [], [1], [[]], {}, {"type": "x"}, [{"a": None}]]
) | st.text(max_size=3)
_DEEP = json.loads("[" * 300 + "]" * 300)  # deeper than orjson writes


def places(value, path=()):
    """Where something could be changed in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            yield from places(one, (*path, key))


def changed(value, path, odd):
    """The value with something odd at a place; without the place where there is nothing odd."""
    if not path:
        return odd[0] if odd else {}
    value = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and not odd:
        del value[path[0]]
    else:
        value[path[0]] = changed(value[path[0]], path[1:], odd)
    return value


@st.composite
def odd_bodies(draw, body):
    """A JSON body that is wrong in some places."""
    value = json.loads(body)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(value))))
        value = changed(value, path, draw(st.just([]) | st.lists(_ODD, min_size=1, max_size=1)))
    return json.dumps(value).encode()


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


def _words(value, keys, scalars):
    """Collects all keys and all other values of JSON documents."""
    if isinstance(value, dict):
        for key, inner in value.items():
            keys.setdefault(key)
            _words(inner, keys, scalars)
    elif isinstance(value, list):
        for inner in value:
            _words(inner, keys, scalars)
    elif value not in scalars:
        scalars.append(value)


def any_documents(samples):
    """JSON objects of any shape, written in the words of the samples: each key may hold any value."""
    keys, scalars = {}, [None, True, -1, 1.5, 2**64, "", "\ud800"]
    _words(samples, keys, scalars)
    names = st.sampled_from(list(keys))
    leaves = st.sampled_from(scalars) | st.just(_DEEP) | st.sampled_from([[], {}, [[]], [{}]])
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )
    kinds = st.sampled_from([value for value in scalars if isinstance(value, str)])
    parts = st.dictionaries(names, values, max_size=5)
    lists = st.lists(st.builds(lambda part, kind: {**part, "type": kind}, parts, kinds) | parts, max_size=3)
    objects = st.dictionaries(names, values | parts | lists, max_size=6)
    return st.builds(lambda document, kind: {**document, "type": kind}, objects, kinds) | objects
