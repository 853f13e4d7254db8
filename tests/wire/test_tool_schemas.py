"""Schemas of tools, in the form that each API accepts."""

import json
from typing import Any

import jsonschema
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from aibridge.wire.tool_calls import InjectedCall, InjectedTool
from aibridge.wire.tool_schemas import APIS, UnfitSchema, fit_tool, unwrap_call

EMPTY: dict[str, Any] = {"type": "object", "properties": {}}
TEXT = {"type": "string"}
PAIR: dict[str, Any] = {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}


def tool(schema: Any) -> InjectedTool:
    return InjectedTool("bmcp_a_b", "a", "http://a.test", "b", "Does.", schema)


def check(schema: dict[str, Any], api: str) -> None:
    """Raise an error if the API refuses the schema: what Anthropic and OpenAI say of such schemas."""
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object", schema
    refused = {"anyOf", "oneOf", "allOf"} | ({"enum", "not"} if api != "messages" else set())
    assert not refused & set(schema), schema
    assert api == "messages" or isinstance(schema.get("properties"), dict), schema


class FitTests(SynchronousTestCase):
    """Schemas that the APIs accept in another form, or not at all."""

    def fitted(self, schema: Any, api: str = "messages") -> Any:
        fit = fit_tool(tool(schema), api)
        check(dict(fit.schema), api)
        return fit

    def test_unchanged(self) -> None:
        """A tool whose schema is accepted stays the same object."""
        for schema in (EMPTY, PAIR, PAIR | {"$schema": "http://json-schema.org/draft-07/schema#", "title": "x"}):
            for api in APIS:
                given_tool = tool(schema)
                self.assertIs(fit_tool(given_tool, api), given_tool)

    def test_without_type(self) -> None:
        """A schema without a type, with several, or with parts that are null means an object all the same."""
        for schema in (True, {}, {"type": None}, {"type": ["object", "null"]}, {"properties": None, "required": None}):
            self.assertEqual(dict(self.fitted(schema).schema), {"type": "object"})
            for api in ("chat/completions", "responses"):
                self.assertEqual(dict(self.fitted(schema, api).schema), EMPTY)

    def test_reference(self) -> None:
        """A schema that only refers to a definition gets that definition, with all others beside it."""
        definitions = {"A": PAIR | {"properties": {"a": {"$ref": "#/$defs/B"}}}, "B": TEXT}
        for schema in (
            {"$ref": "#/$defs/A", "$defs": definitions},
            {"allOf": [{"$ref": "#/$defs/A"}], "$defs": definitions},
            {"$ref": "#/$defs/C", "$defs": definitions | {"C": {"$ref": "#/$defs/A"}}},
        ):
            for api in APIS:
                fit = self.fitted(schema, api).schema
                self.assertEqual((fit["properties"], fit["required"]), ({"a": {"$ref": "#/$defs/B"}}, ["a"]))
                self.assertEqual(fit["$defs"]["B"], TEXT)

    def test_wrapped(self) -> None:
        """A choice at the top becomes the only argument, and arguments are valid exactly if they were before."""
        either = {"anyOf": [PAIR, {"$ref": "#/$defs/B"}], "$defs": {"B": {"required": ["b"]}}}
        nested = {"oneOf": [PAIR, {"required": ["c"], "properties": {"c": {"$ref": "#"}}}]}
        beside = EMPTY | {"properties": {"arguments": TEXT}, "anyOf": [{"required": ["arguments"]}]}
        arguments: list[Any] = [{"a": "x"}, {"b": 1}, {}, {"c": {"a": "x"}}, {"c": {}}, {"arguments": "x"}, {"a": 1}]
        for schema in (either, nested, beside):
            for api in APIS:
                fit = self.fitted(schema, api)
                validator = jsonschema.Draft202012Validator(fit.schema)
                for each in arguments:
                    expected = jsonschema.Draft202012Validator(schema).is_valid(each)
                    self.assertEqual(validator.is_valid({fit.wrapper: each}), expected, (schema, each))

    def test_unwrapped(self) -> None:
        """A call gets the arguments that the tool takes, with their bytes, whether the model wrapped them or not."""
        fit = self.fitted({"anyOf": [PAIR]} | {"oneOf": [PAIR]})
        for wrote, meant in (
            ('{"arguments": {"a":  1.0}}', '{"a":  1.0}'),
            ('{"a":  1.0}', '{"a":  1.0}'),
            ('{"arguments": 1}', '{"arguments": 1}'),
            ('{"arguments": {}, "a": 1}', '{"arguments": {}, "a": 1}'),
            ("no JSON", "no JSON"),
        ):
            self.assertEqual(unwrap_call(InjectedCall("c", fit, wrote)).arguments, meant)
        self.assertEqual(unwrap_call(InjectedCall("c", tool(PAIR), '{"arguments":{}}')).arguments, '{"arguments":{}}')

    def test_older_drafts(self) -> None:
        """Keywords in the form of older drafts get the form of draft 2020-12."""
        old = {"items": [TEXT], "additionalItems": False, "minimum": 1, "exclusiveMinimum": True}
        new = {"prefixItems": [TEXT], "items": False, "exclusiveMinimum": 1}
        self.assertEqual(self.fitted(EMPTY | {"properties": {"a": old}}).schema["properties"]["a"], new)

    def test_booleans_within(self) -> None:
        """A schema that is true or false within another is written out; a switch stays as it is."""
        schema = {"type": "object", "properties": {"a": True, "b": False}, "additionalProperties": False}
        fit = self.fitted(schema).schema
        self.assertEqual((fit["properties"], fit["additionalProperties"]), ({"a": {}, "b": {"not": {}}}, False))

    def test_items(self) -> None:
        """OpenAI demands the items of a list."""
        fit = self.fitted(EMPTY | {"properties": {"a": {"type": "array"}}}, "chat/completions")
        self.assertEqual(fit.schema["properties"]["a"], {"type": "array", "items": {}})

    def test_unfit(self) -> None:
        """If no form keeps the meaning, the tool is left out, for all APIs or for one."""
        deep: Any = {}
        for _ in range(5000):
            deep = {"items": deep}
        for schema in (
            *(False, None, [], "x", 7, TEXT, {"type": ["string", "null"]}, {"type": "any"}, {"type": 7}),
            *({"properties": []}, {"properties": {"a": None}}, {"required": True}, {"required": [1]}),
            *({"$ref": "#"}, {"$ref": "#/$defs/A"}, {"$ref": "http://a.test"}, {"anyOf": {}}, {"items": 7}),
            *({"properties": {"a": {"$ref": "#/$defs/A"}}}, {"enum": 1}, {"description": 1}, deep),
        ):
            for api in APIS:
                self.assertRaises(UnfitSchema, fit_tool, tool(schema), api)
        odd = EMPTY | {"properties": {"a b": TEXT}}
        self.assertRaises(UnfitSchema, fit_tool, tool(odd), "messages")
        self.fitted(odd, "chat/completions")

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.text(max_size=3)
            | st.sampled_from(["object", "#", "#/$defs/a"]),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(
                        ["type", "properties", "anyOf", "allOf", "$ref", "$defs", "a", "items", "not", "required"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_anything(self, schema: Any) -> None:
        """Whatever a server sends, each API accepts it in some form or the tool is left out with a reason."""
        before = json.dumps(schema)
        for api in APIS:
            try:
                fit = fit_tool(tool(schema), api)
            except UnfitSchema as error:
                self.assertTrue(str(error))
            else:
                check(dict(fit.schema), api)
        self.assertEqual(json.dumps(schema), before)
