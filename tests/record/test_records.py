"""The facts that records carry about themselves."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from aibridge.interfaces import IRecorder
from aibridge.record.policy import ContentPolicy
from aibridge.record.records import RECORD_TYPES
from aibridge.record.schema import metadata


class StorageTests(SynchronousTestCase):
    """Every class of records says how it is stored, in terms that the other side knows."""

    def test_columns(self) -> None:
        """A record's table has a column for each of its fields."""
        for record_type in RECORD_TYPES:
            columns = set(metadata.tables[record_type.storage.table].columns.keys())
            self.assertEqual({field.name for field in attrs.fields(record_type)} - columns, set())

    def test_one_row_each(self) -> None:
        """Each table has one class whose records are its rows; others only complete them."""
        tables = [record_type.storage.table for record_type in RECORD_TYPES if not record_type.storage.updates]
        self.assertEqual(len(tables), len(set(tables)))
        self.assertEqual({record_type.storage.table for record_type in RECORD_TYPES}, set(tables))

    def test_methods(self) -> None:
        """Each method of the interface takes one class of records."""
        methods = sorted(filter(None, (record_type.storage.method for record_type in RECORD_TYPES)))
        self.assertEqual(methods, sorted(IRecorder.names()))

    def test_contents(self) -> None:
        """Contents are fields of the record, and what keeps them is a setting of the policy; each setting has some."""
        found = set()
        for record_type in RECORD_TYPES:
            names = {field.name for field in attrs.fields(record_type)}
            self.assertEqual(set(record_type.storage.contents) - names, set())
            found |= set(filter(None, record_type.storage.contents.values()))
        self.assertEqual(found, {field.name for field in attrs.fields(ContentPolicy)})

    def test_spool_kinds(self) -> None:
        """The names in spool files stay what they are: a file may be read by a later version."""
        self.assertEqual(
            {record_type.storage.spool_kind: record_type.__name__ for record_type in RECORD_TYPES},
            {
                "interception": "InterceptionRecord",
                "ended": "InterceptionRecordEnded",
                "token_usage": "TokenUsageRecord",
                "prompt": "PromptUsageRecord",
                "tool_usage": "ToolUsageRecord",
                "thought": "ModelThoughtRecord",
                "toolset": "ToolsetRecord",
                "turn": "TurnRecord",
                "anchor": "AnchorRecord",
                "stored_object": "StoredObjectRecord",
            },
        )
