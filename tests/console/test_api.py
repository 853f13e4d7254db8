"""The query API, on each database."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from aibridge.console.openapi import make_document
from aibridge.console.questions import QUESTIONS
from aibridge.identity.key_store import KeyStore
from aibridge.insight.filters import PAGING
from aibridge.record.budgets.budget_store import BudgetStore
from aibridge.record.budgets.settings import BudgetSettings

from ..insight.records import USD
from ..record.databases import OnSQLite
from ..record.postgresql import OnPostgreSQL
from .site import WithConsole

DOCUMENT = make_document()


def schema_of(path: str) -> Draft202012Validator:
    """Return what checks the answer to a path against the OpenAPI document."""
    answer = DOCUMENT["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]
    schema = {"$ref": "urn:document#/components/schemas/X"}
    document = {**DOCUMENT, "components": {"schemas": {**DOCUMENT["components"]["schemas"]}}}
    document["components"]["schemas"]["X"] = answer["content"]["application/json"]["schema"]
    registry: Any = Registry().with_resource("urn:document", Resource(document, DRAFT202012))
    return Draft202012Validator(schema, registry=registry)


class ApiTests(WithConsole):
    """Tests for every database."""

    def fill(self) -> None:
        """Write a session with two interceptions, and a key."""
        now = datetime.now(UTC) - timedelta(minutes=5)
        given: dict[str, Any] = {"client_session_id": "s1", "prompt": "my words", "calls": {"Bash": "t1"}}
        self.first = self.exchange(now, cost=USD // 4, injected={"ask": "it broke"}, thoughts=["hm"], **given)
        self.exchange(now + timedelta(seconds=4), client_session_id="s1", correlating_tool_call_id="t1", cost=None)
        BudgetStore(self.url, BudgetSettings()).set("organization", "", "daily", USD)
        self.key = KeyStore(self.url).create("alice", {"team": "core"})

    async def test_document(self) -> None:
        """The OpenAPI document is valid, and every question's answer is as it says."""
        OpenAPIV31SpecValidator(DOCUMENT).validate()
        status, document = await self.ask("openapi.json")
        self.assertEqual((status, document), (200, DOCUMENT))
        self.fill()
        subjects = {"sessions/{id}": "s1", "interceptions/{id}": str(self.first)}
        for name in QUESTIONS:
            if name == "search":
                continue
            path = name.replace("{id}", subjects.get(name, ""))
            status, answer = await self.ask(path + ("?group_by=day,actor" if name == "usage" else ""))
            self.assertEqual(status, 200, (name, answer))
            schema_of(name).validate(answer)
            if QUESTIONS[name].is_list:
                self.assertTrue(answer["data"], name)

    async def test_forms(self) -> None:
        """Money is a decimal text, a time ISO 8601 in UTC; names are those of the records."""
        self.fill()
        _, answer = await self.ask(f"interceptions/{self.first}")
        self.assertEqual(answer["cost_usd"], "0.25")
        self.assertRegex(answer["started_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        self.assertEqual((answer["initiator_id"], answer["status"]), ("alice", "completed"))
        self.assertEqual(answer["user_prompts"][0]["prompt"], "my words")
        self.assertEqual(answer["token_usages"][0]["cache_read_input_tokens"], 5)
        _, page = await self.ask("interceptions?limit=1")
        self.assertIs(page["data"][0]["cost_usd"], None)
        self.assertTrue(page["has_more"])
        _, page = await self.ask("interceptions?limit=1&cursor=" + page["next_cursor"])
        self.assertEqual((page["data"][0]["id"], page["has_more"]), (str(self.first), False))
        _, page = await self.ask("usage?group_by=actor")
        self.assertEqual([row["actor"] for row in page["data"]], ["alice"])
        self.assertNotIn("model", page["data"][0])

    async def test_wrong(self) -> None:
        """A wrong request is refused by name, and nothing of it is ignored."""
        for path, status, code, field in (
            ("sessions?offset=1", 400, "unknown_parameter", "offset"),
            ("interceptions?limit=1000", 400, "invalid_parameter", "limit"),
            ("interceptions?cursor=x", 400, "invalid_parameter", "cursor"),
            ("interceptions?actor=a&actor=b", 400, "invalid_parameter", "actor"),
            ("overview?from=2026-01-01", 400, "unknown_parameter", "from"),
            ("usage", 400, "missing_parameter", "group_by"),
            ("usage?group_by=colour", 400, "invalid_parameter", "group_by"),
            ("search?q=", 400, "invalid_parameter", "q"),
            ("interceptions/1", 404, "not_found", None),
            (f"interceptions/{uuid4()}", 404, "not_found", None),
            ("sessions/unknown", 404, "not_found", None),
            ("nothing", 404, "not_found", None),
            ("", 404, "not_found", None),
            ("search?q=x", 503, "search_off", None),
        ):
            found, answer = await self.ask(path)
            error = answer["error"]
            self.assertEqual((found, error["code"], error["field"]), (status, code, field), path)
            self.assertTrue(error["message"].endswith("."), error)

    async def test_every_parameter(self) -> None:
        """Every question takes every parameter that it names."""
        values = {"status": "failed", "from": "2026-01-01", "to": "2026-01-02", "min_cost": "0.5", "limit": "5"}
        for name, question in QUESTIONS.items():
            if "{id}" in name or name == "search":
                continue
            for parameter in question.parameters:
                if parameter not in PAGING:
                    extra = "&group_by=model" if name == "usage" else ""
                    status, answer = await self.ask(f"{name}?{parameter}={values.get(parameter, 'x')}{extra}")
                    self.assertEqual(status, 200, (name, parameter, answer))

    async def test_method(self) -> None:
        """Another method is refused, and the allowed ones are named."""
        status, answer = await self.ask("sessions", "POST")
        self.assertEqual((status, answer["error"]["code"]), (405, "method_not_allowed"))
        self.assertEqual(self.headers.getRawHeaders("allow"), ["GET, HEAD"])
        self.assertEqual(await self.ask("overview", "HEAD"), (200, None))

    async def test_looks_are_recorded(self) -> None:
        """Each look at content is in the audit, before it is shown; looks at figures are not."""
        self.fill()
        for path in ("overview", "interceptions", "sessions?actor=alice", "sessions/s1", f"interceptions/{self.first}"):
            self.assertEqual((await self.ask(path))[0], 200)
        self.assertEqual(
            self.audited(),
            [("view sessions", ""), ("view sessions", "s1"), ("view interceptions", str(self.first))],
        )

    async def test_keys(self) -> None:
        """An administrator makes and revokes keys; both are in the audit."""
        status, answer = await self.ask(
            "keys", "POST", json={"actor": "bob", "expires_days": 3, "console_role": "viewer"}
        )
        self.assertEqual(status, 201)
        self.assertRegex(answer["key"], "^aib_")
        _, page = await self.ask("keys?actor=bob")
        [key] = page["data"]
        self.assertEqual((key["state"], key["console_role"]), ("valid", "viewer"))
        self.assertEqual(await self.ask(f"keys/{key['id']}", "DELETE"), (204, None))
        _, page = await self.ask("keys?actor=bob")
        self.assertEqual(page["data"][0]["state"], "revoked")
        self.assertEqual([action for action, _ in self.audited()], ["create key", "revoke key"])
        self.assertEqual((await self.ask(f"keys/{uuid4()}", "DELETE"))[0], 404)
        for body in (
            {},
            {"actor": ""},
            {"actor": "a", "x": 1},
            {"actor": "a", "expires_days": 0},
            {"actor": "a", "metadata": [1]},
        ):
            self.assertEqual((await self.ask("keys", "POST", json=body))[0], 400, body)

    async def test_budgets(self) -> None:
        """An administrator sets and removes caps; the list has what is spent of each."""
        self.exchange(datetime.now(UTC), cost=USD, credential_kind="centralized")
        body = {"scope": "actor", "name": "alice", "period": "monthly", "limit_usd": "4.00"}
        status, cap = await self.ask("budgets", "POST", json=body)
        self.assertEqual(status, 201)
        status, page = await self.ask("budgets")
        schema_of("budgets").validate(page)
        [row] = page["data"]
        self.assertEqual(
            (row["id"], row["scope"], row["name"], row["period"]), (cap["id"], "actor", "alice", "monthly")
        )
        self.assertEqual((row["limit_usd"], row["spent_usd"]), ("4", "1"))
        self.assertEqual(row["used_ratio"], 0.25)
        self.assertEqual(await self.ask(f"budgets/{cap['id']}", "DELETE"), (204, None))
        self.assertEqual((await self.ask("budgets"))[1]["data"], [])
        self.assertEqual([action for action, _ in self.audited()], ["set budget", "remove budget"])
        self.assertEqual((await self.ask(f"budgets/{cap['id']}x", "DELETE"))[0], 404)
        for change in (
            {"scope": "x"},
            {"name": ""},
            {"period": "hourly"},
            {"limit_usd": 4},
            {"limit_usd": "-1"},
            {"x": 1},
        ):
            status, answer = await self.ask("budgets", "POST", json=body | change)
            self.assertEqual((status, answer["error"]["field"]), (400, next(iter(change))), change)

    async def test_foreign_page(self) -> None:
        """A page of another site changes nothing, and a site's name that is not this machine's own shows nothing."""
        foreign = {"Origin": ["https://evil.example"]}
        status, _ = await self.ask("keys", "POST", json={"actor": "bob"}, headers=foreign)
        self.assertEqual(status, 403)
        status, _ = await self.ask("overview", headers={"Host": ["evil.example"]})
        self.assertEqual(status, 403)


class SQLiteApiTests(ApiTests, OnSQLite):
    """On SQLite."""


class PostgreSQLApiTests(ApiTests, OnPostgreSQL):
    """On PostgreSQL."""


del ApiTests
