"""The forms in which providers stream the tool calls of one message, each as a function from calls to deltas.

A call is a tuple of its id, its tool's name and its arguments as JSON text.
"""

import json


def as_documented(calls):
    """Each call by its index: first a piece with its id and name, then its arguments in pieces."""
    deltas = []
    for index, (call_id, name, arguments) in enumerate(calls):
        deltas.append([_piece("", index, id=call_id, name=name, type="function")])
        deltas += [[_piece(part, index)] for part in _parts(arguments)]
    return deltas


def mixed_up(calls):
    """Pieces of all calls in each delta."""
    heads = [_piece("", index, id=call_id, name=name) for index, (call_id, name, _) in enumerate(calls)]
    parts = [_parts(arguments) for _, _, arguments in calls]
    return [heads, *([_piece(each[at], index) for index, each in enumerate(parts)] for at in range(3))]


def all_at_index_0(calls):
    """Each call whole, and all of them at index 0, as in Gemini's OpenAI form."""
    return [[_piece(arguments, 0, id=call_id, name=name)] for call_id, name, arguments in calls]


def all_at_index_0_in_pieces(calls):
    """All at index 0, and the arguments in pieces."""
    return [[piece | {"index": 0} for piece in delta] for delta in as_documented(calls)]


def all_in_one_delta(calls):
    """All calls whole in one delta, all at index 0."""
    return [[_piece(arguments, 0, id=call_id, name=name) for call_id, name, arguments in calls]]


def all_in_one_delta_without_indexes(calls):
    """All calls whole in one delta, without indexes."""
    return [[_piece(arguments, id=call_id, name=name) for call_id, name, arguments in calls]]


def without_indexes(calls):
    """Each call whole, without an index."""
    return [[_piece(arguments, id=call_id, name=name)] for call_id, name, arguments in calls]


def without_indexes_in_pieces(calls):
    """In pieces, of which only the first has an id, and none an index."""
    return [[_without_index(piece) for piece in delta] for delta in as_documented(calls)]


def with_ids_alone(calls):
    """In pieces that have the call's id, and none an index."""
    deltas = []
    for call_id, name, arguments in calls:
        deltas.append([_piece("", id=call_id, name=name)])
        deltas += [[_piece(part, id=call_id)] for part in _parts(arguments)]
    return deltas


def with_repeated_names(calls):
    """Id and name again in every piece."""
    return [
        [_piece(part, index, id=call_id, name=name, type="function")]
        for index, (call_id, name, arguments) in enumerate(calls)
        for part in ("", *_parts(arguments))
    ]


def with_repeated_names_at_index_0(calls):
    """Id and name again in every piece, all at index 0."""
    return [[piece | {"index": 0} for piece in delta] for delta in with_repeated_names(calls)]


def with_rotating_ids(calls):
    """Another id in each piece: the first is the call's."""
    return [
        [_piece(part, index, **({"id": call_id, "name": name} if not at else {"id": f"made-up-{index}-{at}"}))]
        for index, (call_id, name, arguments) in enumerate(calls)
        for at, part in enumerate(("", *_parts(arguments)))
    ]


def with_objects(calls):
    """Arguments as an object, not as text."""
    return [
        [_piece(json.loads(arguments), index, id=call_id, name=name)]
        for index, (call_id, name, arguments) in enumerate(calls)
    ]


def with_empty_objects_first(calls):
    """``{}`` for arguments until the real ones come."""
    return [
        [piece if "name" not in piece["function"] else _with_arguments(piece, "{}") for piece in delta]
        for delta in as_documented(calls)
    ]


def whole_at_the_end(calls):
    """In pieces, and all calls whole once more in the end."""
    again = [_piece(arguments, index, id=call_id, name=name) for index, (call_id, name, arguments) in enumerate(calls)]
    return [*as_documented(calls), again]


def with_names_in_pieces(calls):
    """The name in pieces too."""
    deltas = []
    for index, (call_id, name, arguments) in enumerate(calls):
        deltas += [[_piece("", index, id=call_id, name=name[:4])], [_piece("", index, name=name[4:])]]
        deltas += [[_piece(part, index)] for part in _parts(arguments)]
    return deltas


def with_nulls(calls):
    """Null for everything that a piece does not have."""
    nothing = {"id": None, "type": None}
    return [
        [nothing | piece | {"function": {"name": None} | piece["function"]} for piece in delta]
        for delta in as_documented(calls)
    ]


def from_index_1(calls):
    """Indexes that begin with 1."""
    return [[piece | {"index": piece["index"] + 1} for piece in delta] for delta in as_documented(calls)]


DIALECTS = (
    as_documented,
    mixed_up,
    all_at_index_0,
    all_at_index_0_in_pieces,
    all_in_one_delta,
    all_in_one_delta_without_indexes,
    without_indexes,
    without_indexes_in_pieces,
    with_ids_alone,
    with_repeated_names,
    with_repeated_names_at_index_0,
    with_rotating_ids,
    with_objects,
    with_empty_objects_first,
    whole_at_the_end,
    with_names_in_pieces,
    with_nulls,
    from_index_1,
)


def without_ids(dialect):
    """The dialect without any id."""

    def deltas(calls):
        return [[{key: value for key, value in piece.items() if key != "id"} for piece in d] for d in dialect(calls)]

    deltas.__name__ = f"{dialect.__name__} without ids"
    return deltas


WITHOUT_IDS = tuple(
    without_ids(dialect)
    for dialect in (
        as_documented,
        mixed_up,
        all_at_index_0,
        all_in_one_delta,
        without_indexes,
        with_repeated_names,
        with_repeated_names_at_index_0,
    )
)
"""Dialects in which calls can be told apart without their ids."""


def _piece(arguments, index=None, *, name=None, **more):
    function = ({"name": name} if name else {}) | {"arguments": arguments}
    return ({} if index is None else {"index": index}) | more | {"function": function}


def _with_arguments(piece, arguments):
    return piece | {"function": piece["function"] | {"arguments": arguments}}


def _without_index(piece):
    return {key: value for key, value in piece.items() if key != "index"}


def _parts(arguments):
    third = len(arguments) // 3
    return [arguments[:third], arguments[third : 2 * third], arguments[2 * third :]]
