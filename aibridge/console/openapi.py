"""The API's OpenAPI document, made from the questions and the classes of their rows.

https://spec.openapis.org/oas/v3.1.0
"""

from datetime import datetime
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs

from .. import __version__
from ..insight.filters import DEFAULT_LIMIT, FILTERS, MOST_ROWS, STATUSES
from ..insight.rows import InterceptionDetail, UsageRow
from ..record.budgets.periods import PERIODS
from .export_stream import FORMATS
from .json_rows import FLATTENED, NANO, USD
from .questions import QUESTIONS, Question
from .roles import ROLES

Schema = dict[str, Any]

_MOMENT: Schema = {"type": "string", "format": "date-time"}
_DESCRIPTIONS = {
    "actor": "Whose interceptions.",
    "team": "The team in the actors' metadata; empty for actors without one.",
    "provider": "A provider's configured name.",
    "model": "The model that was asked for.",
    "client": "The client program.",
    "status": "How an interception ended.",
    "session": "The client's id of a session.",
    "tool": "A tool that the model called.",
    "from": "The beginning of the span: a date or a time in ISO 8601, in UTC if it has no time zone.",
    "to": "The end of the span, itself excluded.",
    "min_cost": "USD that an interception, or a session, costs at least.",
    "limit": "Rows of a page.",
    "cursor": "The next_cursor of the page before.",
}
_ERRORS = {
    "400": "A parameter is unknown or wrong; `field` names it.",
    "401": "Nobody is signed in.",
    "403": "The visitor's role does not allow that.",
    "404": "There is no such thing.",
    "503": "The query took too long (`query_too_slow`), or the database is away.",
}


def make_document() -> Schema:
    """Return the document."""
    schemas: dict[str, Schema] = {"Error": _error()}
    paths: dict[str, Schema] = {}
    for path, question in QUESTIONS.items():
        paths[f"/api/v1/{path}"] = {"get": _operation(path, question, schemas)}
    paths["/api/v1/export"] = {"get": _export(schemas)}
    paths["/api/v1/keys"]["post"] = _create_key()
    paths["/api/v1/keys/{id}"] = {"delete": _delete("revoke_key", "Revoke a key.", "It is revoked.")}
    paths["/api/v1/budgets"]["post"] = _set_budget(schemas)
    paths["/api/v1/budgets/{id}"] = {"delete": _delete("remove_budget", "Remove a cap.", "It is removed.")}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aibridge",
            "version": __version__,
            "description": "What a gateway has recorded. Money is USD as decimal numbers in text; times are UTC.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "aibridge keys create --console ROLE"},
                "session": {"type": "apiKey", "in": "cookie", "name": "aibridge_session"},
            },
        },
        "security": [{"key": []}, {"session": []}, {}],
    }


def _operation(path: str, question: Question, schemas: dict[str, Schema]) -> Schema:
    parameters = [_parameter(name) for name in question.parameters]
    parameters += [
        {"name": name, "in": "query", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in question.extra.items()
    ]
    if "{id}" in path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": {"type": "string"}})
    row = _schema_of(question.row, schemas)
    answer = row if not question.is_list else _page_of(row)
    role = f"Role: {question.role}." + (" A look by an auditor is recorded." if question.has_content else "")
    return {
        "operationId": "get_" + path.replace("/{id}", "_by_id"),
        "summary": question.title,
        "description": role,
        "parameters": parameters,
        "responses": {"200": _json("The answer.", answer)} | _errors(),
    }


def _parameter(name: str) -> Schema:
    schema: Schema = {"type": "string"}
    if name == "status":
        schema = {"type": "string", "enum": [*STATUSES]}
    elif name == "limit":
        schema = {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": DEFAULT_LIMIT}
    return {"name": name, "in": "query", "description": _DESCRIPTIONS[name], "schema": schema}


def _page_of(row: Schema) -> Schema:
    members = {
        "data": {"type": "array", "items": row},
        "has_more": {"type": "boolean"},
        "next_cursor": {"type": ["string", "null"]},
    }
    return {"type": "object", "properties": members, "required": [*members]}


def _schema_of(hint: Any, schemas: dict[str, Schema]) -> Schema:
    """Return the schema of a type of rows' members; classes get one of their own, by name."""
    arguments = get_args(hint)
    if isinstance(hint, UnionType):
        [inner] = [each for each in arguments if each is not NoneType]
        return {"anyOf": [_schema_of(inner, schemas), {"type": "null"}]}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _schema_of(arguments[0], schemas)}
    if isinstance(hint, type) and attrs.has(hint):
        if hint.__name__ not in schemas:
            schemas[hint.__name__] = {}  # a class may lead to itself
            schemas[hint.__name__] = _object(hint, schemas)
        return {"$ref": f"#/components/schemas/{hint.__name__}"}
    plain: dict[Any, Schema] = {
        str: {"type": "string"},
        int: {"type": "integer"},
        float: {"type": "number"},
        bool: {"type": "boolean"},
        datetime: _MOMENT,
        UUID: {"type": "string", "format": "uuid"},
        object: {},
    }
    return plain.get(hint, {"type": "object"})


def _object(cls: Any, schemas: dict[str, Schema]) -> Schema:
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for name, hint in get_type_hints(cls).items():
        if name in FLATTENED:
            inner = _object(hint, schemas)
            properties |= inner["properties"]
            required += inner["required"]
            continue
        if name.endswith(NANO):
            name, hint = name.removesuffix(NANO) + USD, str if hint is int else str | None
        properties[name] = _schema_of(hint, schemas)
        if cls is not UsageRow:
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _error() -> Schema:
    members = {"code": {"type": "string"}, "message": {"type": "string"}, "field": {"type": ["string", "null"]}}
    error = {"type": "object", "properties": members, "required": [*members]}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def _errors() -> Schema:
    return {status: _json(text, {"$ref": "#/components/schemas/Error"}) for status, text in _ERRORS.items()}


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _export(schemas: dict[str, Schema]) -> Schema:
    form = {"name": "format", "in": "query", "schema": {"type": "string", "enum": [*FORMATS], "default": "jsonl"}}
    line = _schema_of(InterceptionDetail, schemas)
    return {
        "operationId": "export",
        "summary": "Interceptions, newest first, each as a line of JSON with all its rows, or as a row of CSV.",
        "description": "Role: viewer. An export by an auditor has contents, and is recorded.",
        "parameters": [*(_parameter(name) for name in FILTERS), form],
        "responses": {
            "200": {
                "description": "The lines. The connection breaks off where the export could not go on.",
                "content": {"application/jsonl": {"schema": line}, "text/csv": {"schema": {"type": "string"}}},
            }
        }
        | _errors(),
    }


def _create_key() -> Schema:
    members = {
        "actor": {"type": "string"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
        "expires_days": {"type": "integer", "minimum": 1},
        "console_role": {"type": "string", "enum": [*ROLES]},
    }
    body = {"type": "object", "properties": members, "required": ["actor"], "additionalProperties": False}
    key = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
    return {
        "operationId": "create_key",
        "summary": "Make a key. It is shown in this answer, and never again.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"201": _json("The key.", key)} | _errors(),
    }


def _set_budget(schemas: dict[str, Schema]) -> Schema:
    members = {
        "scope": {"type": "string", "enum": ["organization", "group", "actor"]},
        "name": {"type": "string"},
        "period": {"type": "string", "enum": [*PERIODS]},
        "limit_usd": {"type": ["string", "null"], "description": "A decimal number; null only counts the spending."},
    }
    required = ["scope", "period", "limit_usd"]
    body = {"type": "object", "properties": members, "required": required, "additionalProperties": False}
    budget = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
    return {
        "operationId": "set_budget",
        "summary": "Set a cap, in place of one of the same scope, name and period. It holds from the next request on.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"201": _json("The cap.", budget)} | _errors(),
    }


def _delete(operation: str, title: str, done: str) -> Schema:
    return {
        "operationId": operation,
        "summary": title,
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"204": {"description": done}} | _errors(),
    }
