"""Schemas of tools in the form that each API accepts, with the meaning that they have.

MCP servers list schemas of any JSON Schema draft; the APIs accept less:

- The type at the top has to be ``object``, without ``anyOf`` and the like beside it. Anthropic: "input_schema does not
  support oneOf, allOf, or anyOf at the top level". OpenAI: "schema must have type 'object' and not have 'oneOf' /
  'anyOf' / 'allOf' / 'enum' / 'not' at the top level".
- Anthropic demands draft 2020-12 and names of properties that match ``^[a-zA-Z0-9_.-]{1,64}$``.
- OpenAI demands ``properties`` of an object at the top, and ``items`` of an array.
"""

import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from . import json_splice, jsontext
from .tool_calls import InjectedCall, InjectedTool

_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_DEFINITIONS = ("$defs", "definitions")
_MAPS = ("properties", "patternProperties", "dependentSchemas", *_DEFINITIONS)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "contains", "not", "if", "then", "else", "propertyNames", "additionalProperties")
_FREE = ("default", "const")
"""Keywords that may be null. Any other that is null stands for one that is missing."""
_NO_CONSTRAINTS = ("$schema", "$id", "$comment", "title", "description", "type", *_DEFINITIONS)
_MAX_REFERENCES = 10
_WRAPPER = "arguments"

_REFUSED_AT_TOP = {
    "messages": ("anyOf", "oneOf", "allOf"),
    "chat/completions": ("anyOf", "oneOf", "allOf", "enum", "not"),
    "responses": ("anyOf", "oneOf", "allOf", "enum", "not"),
}
"""Keywords that an API refuses at the top of a schema, by the name of its wire format."""

APIS = tuple(_REFUSED_AT_TOP)
"""The names of the wire formats that have tools."""

_KINDS: Mapping[str, type] = {
    **dict.fromkeys(_MAPS, dict),
    **dict.fromkeys((*_LISTS, "required", "enum"), list),
    **dict.fromkeys(("$ref", "description", "title", "format", "pattern"), str),
}
_KIND_NAMES: dict[type, str] = {dict: "object", list: "list", str: "text"}

_ANTHROPIC_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


class UnfitSchema(ValueError):
    """The API does not accept the schema, and no schema that it accepts has the same meaning."""


def fit_tool(tool: InjectedTool, api: str) -> InjectedTool:
    """Return the tool with a schema that the API accepts; the tool itself if its own is one. Raise UnfitSchema.

    `api` is the name of a wire format. If only a wrapped schema keeps the meaning, the tool gets a `wrapper`.
    """
    try:
        schema, wrapper = _Fitting(tool.schema, api).fit()
    except RecursionError:
        raise UnfitSchema("its schema is nested too deeply") from None
    return tool if schema == tool.schema else evolve(tool, schema=schema, wrapper=wrapper)


def unwrap_call(call: InjectedCall) -> InjectedCall:
    """Return a call with the arguments that its tool takes, if the model wrapped them as the schema says."""
    wrapper = call.tool.wrapper
    arguments = jsontext.load_object(call.arguments.encode()) if wrapper else None
    if arguments is None or list(arguments) != [wrapper] or not isinstance(arguments[wrapper], dict):
        return call
    inner = json_splice.member_text(call.arguments.encode(), wrapper) or b"{}"
    return evolve(call, arguments=inner.decode())


class _Fitting:
    """A schema on its way to an API."""

    def __init__(self, schema: object, api: str) -> None:
        self._root = schema
        self._api = api

    def fit(self) -> tuple[dict[str, Any], str]:
        """Return the schema, and the name of the argument that wraps all others or an empty string."""
        if self._root is False:
            raise UnfitSchema("its schema allows no arguments at all")
        schema = self._top(self._mend(self._root, "its schema"))
        kind = schema.get("type", "object")
        if kind != "object" and not (isinstance(kind, list) and "object" in kind):
            raise UnfitSchema(f"its arguments are no object but {kind!r}")
        if schema.get("type") != "object":
            schema = {"type": "object"} | schema | {"type": "object"}
        if any(keyword in schema for keyword in (*_REFUSED_AT_TOP[self._api], "$ref")):
            return _wrap(schema)
        if self._api != "messages" and "properties" not in schema:
            schema["properties"] = {}
        if self._api == "messages":
            for name in schema.get("properties", {}):
                if not _ANTHROPIC_NAME.fullmatch(name):
                    raise UnfitSchema(f"Anthropic accepts no argument with the name {name[:80]!r}")
        return schema, ""

    def _top(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return a mended schema with the schema that its top only refers to in its place."""
        for _ in range(_MAX_REFERENCES):
            lone = schema.get("allOf") if len(schema.get("allOf", ())) == 1 else None
            constraints = {key for key in schema if key not in _NO_CONSTRAINTS}
            if constraints == {"$ref"}:
                target = self._mend(self._resolve(str(schema["$ref"])), str(schema["$ref"]))
            elif constraints == {"allOf"} and lone:
                target = lone[0]
            else:
                return schema
            outer = {key: value for key, value in schema.items() if key not in ("$ref", "allOf", "type")}
            schema = target | outer | {"type": target.get("type", "object")}
        raise UnfitSchema("its $ref leads back to itself")

    def _resolve(self, reference: str) -> object:
        """Return the part of the server's schema that a local reference leads to."""
        found = self._root
        if not reference.startswith("#"):
            raise UnfitSchema(f"its $ref {reference[:80]!r} leads to another document")
        for step in reference[1:].split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
                found = found[int(step)]
            else:
                raise UnfitSchema(f"its $ref {reference[:80]!r} leads nowhere")
        return found

    def _mend(self, node: object, place: str) -> dict[str, Any]:
        """Return a schema in the form of draft 2020-12, without the parts that say nothing. `place` is for errors."""
        if node is True:
            return {}
        if node is False:
            return {"not": {}}
        if not isinstance(node, Mapping):
            raise UnfitSchema(f"{place} is no schema")
        schema = _modern({key: value for key, value in node.items() if value is not None or key in _FREE})
        _check_keywords(schema, place)
        if str(schema.get("$ref", "")).startswith("#/"):
            self._resolve(schema["$ref"])
        for key in schema:
            schema[key] = self._mend_member(key, schema[key], place)
        kind = schema.get("type")
        if self._api != "messages" and "items" not in schema and (kind == "array" or "array" in (kind or ())):
            schema["items"] = {}
        return schema

    def _mend_member(self, key: str, value: Any, place: str) -> Any:
        if key in _MAPS:
            return {name: self._mend(each, f"{name[:80]!r} in {key}") for name, each in value.items()}
        if key in _LISTS:
            return [self._mend(each, f"a part of {key}") for each in value]
        if key in _SINGLE and not isinstance(value, bool):
            return self._mend(value, f"{key} of {place}")
        return value


def _modern(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the keywords that older drafts had in another form."""
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        if "additionalItems" in schema:
            schema["items"] = schema.pop("additionalItems")
    for exclusive, inclusive in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        is_exclusive = schema.get(exclusive)
        if isinstance(is_exclusive, bool):
            del schema[exclusive]
            if is_exclusive and inclusive in schema:
                schema[exclusive] = schema.pop(inclusive)
    return schema


def _check_keywords(schema: Mapping[str, Any], place: str) -> None:
    """Raise UnfitSchema if a keyword has a value that JSON Schema does not allow."""
    kind = schema.get("type", "object")
    kinds = kind if isinstance(kind, list) else [kind]
    if not kinds or not all(isinstance(each, str) and each in _TYPES for each in kinds) or len({*kinds}) < len(kinds):
        raise UnfitSchema(f"{place} has the unknown type {kind!r}")
    for keyword, kind in _KINDS.items():
        if keyword in schema and not isinstance(schema[keyword], kind):
            raise UnfitSchema(f"{place} has a {keyword!r} that is no {_KIND_NAMES[kind]}")
    if not all(schema[keyword] for keyword in _LISTS if keyword in schema):
        raise UnfitSchema(f"{place} has an empty list where schemas should be")
    required = schema.get("required", ())
    if not all(isinstance(name, str) for name in required) or len({*required}) < len(required):
        raise UnfitSchema(f"{place} has a 'required' that is no list of different names")


def _wrap(schema: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return a schema whose only argument is an object of the given schema, and that argument's name."""
    wrapper, text = _WRAPPER, jsontext.dump(schema)
    while jsontext.dump(wrapper) in text:  # the model may write the tool's own arguments without the wrapper
        wrapper += "_"
    inner = {key: value for key, value in schema.items() if key not in (*_DEFINITIONS, "$schema", "$id")}
    outer: dict[str, Any] = {"type": "object", "properties": {wrapper: inner}, "required": [wrapper]}
    for key in _DEFINITIONS:
        if key in schema:
            outer[key] = schema[key]
    rebased: dict[str, Any] = _rebase(outer, f"#/properties/{wrapper}")
    return rebased, wrapper


def _rebase(value: Any, top: str) -> Any:
    """Return a value whose local references lead to the same places, after all but the definitions moved to `top`."""
    if isinstance(value, list):
        return [_rebase(each, top) for each in value]
    if not isinstance(value, dict):
        return value
    rebased = {key: _rebase(each, top) for key, each in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        is_definition = reference.startswith(tuple(f"#/{key}/" for key in _DEFINITIONS))
        rebased["$ref"] = reference if is_definition else top + reference[1:]
    return rebased
