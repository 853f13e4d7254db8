"""Warnings of configurations that can be used."""

import json
import os
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from aibridge.config.checks import config_warnings
from aibridge.config.loader import configure
from aibridge.config.sources import ConfigSources
from aibridge.record.reached import ReachedMark
from aibridge.record.upgrade import _revision


class DatabaseTests(SynchronousTestCase):
    """Settings that can be read, and will not work."""

    def found(self, table: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
        """The warnings of a file with that table."""
        return config_warnings(configure(ConfigSources(table, "a.toml", environ or {})))

    def test_unset_variable(self) -> None:
        """A variable that the file names for a key and that is not set."""
        table = {"providers": {"openai": {"api_key_env": "MINE"}, "anthropic": {}}}
        self.assertEqual(self.found(table), ["providers.openai.api_key_env: the variable MINE is not set"])
        self.assertEqual(self.found(table, {"MINE": "k"}), [])

    def test_fallbacks(self) -> None:
        """A fallback that can serve nothing of its provider's, and a provider whose requests never move."""
        spare = {"type": "anthropic", "api_key": "k", "base_url": "http://h"}
        keyless = {"type": "anthropic", "base_url": "http://h"}
        a = spare | {"fallback": ["b"]}
        other = {"type": "openai", "api_key": "k", "base_url": "http://h/v1"}
        for own, fallback, why in (
            (a, spare, None),
            (a, other, "it has none of the APIs of a"),
            (a, keyless, "it has no api_key"),
            (
                keyless | {"fallback": ["b"]},
                spare,
                "a has no api_key, and requests with clients' own keys stay where they are",
            ),
        ):
            found = self.found({"providers": {"a": own, "b": fallback}})
            self.assertEqual(found, [f'providers.a.fallback: "b" never takes over: {why}'] if why else [])

    def test_patterns(self) -> None:
        """Providers' tables of models have regular expressions, those of prices have globs; each is told of the other."""
        prices = {"input": 1.0, "output": 1.0}
        for pattern, is_glob, is_regex in (
            ("claude-*", True, False),
            ("gpt-4o", False, False),
            ("^claude-(.*)$", False, True),
            ("gpt-4.*", False, False),
            (r"gpt-4\.1", False, True),
            ("[a-z]*x", False, False),
        ):
            table = {
                "providers": {"openai": {"models": {pattern: "m"}}},
                "prices": {"models": {pattern: prices}},
            }
            keys = [line.split(": ")[0] for line in self.found(table)]
            expected = ["providers.openai.models"] * is_glob + [f"prices.models.{json.dumps(pattern)}"] * is_regex
            self.assertEqual(keys, expected)

    def test_read_only(self) -> None:
        """Files and folders that can't be written, and a folder whose place is taken by a file."""
        self.patch(os, "access", lambda path, mode: "read-only" not in str(path))
        folder = Path(self.mktemp()) / "read-only"
        folder.mkdir(parents=True)
        (folder.parent / "file").touch()
        for url, spool, keys in (
            (f"sqlite:///{folder}/x.sqlite", f"{folder}/spool", ["database.url", "database.spool_dir"]),
            (f"sqlite:///{folder.parent}/x.sqlite", f"{folder.parent}/file", ["database.spool_dir"]),
            (f"sqlite:///{folder.parent}/x.sqlite", f"{folder.parent}/a/b/c", []),
        ):
            warnings = self.found({"database": {"url": url, "spool_dir": spool}})
            self.assertEqual([warning.partition(":")[0] for warning in warnings], keys)
            self.assertTrue(all(warning.endswith(" can't be written") for warning in warnings))
        dumps = {"anthropic": {"dump_dir": f"{folder}/dumps"}, "openai": {"dump_dir": str(folder.parent)}}
        expected = [f"providers.anthropic.dump_dir: {folder}/dumps can't be written"]
        self.assertEqual(self.found({"providers": dumps}), expected)

    def test_no_entrance(self) -> None:
        """Files below a folder that this user may not enter are told like others that can't be written."""
        stat = os.stat
        folder = Path(self.mktemp()) / "locked"
        folder.mkdir(parents=True)

        def refusing(path: Any, **options: Any) -> os.stat_result:
            if "locked/" in str(path):
                raise PermissionError(13, "Permission denied")
            return stat(path, **options)

        self.patch(os, "stat", refusing)
        self.patch(os, "access", lambda path, mode: "locked" not in str(path))
        database = {"url": f"sqlite:///{folder}/x.sqlite", "spool_dir": f"{folder}/spool"}
        warnings = self.found({"database": database, "providers": {"openai": {"dump_dir": f"{folder}/dumps"}}})
        keys = [warning.partition(":")[0] for warning in warnings if warning.endswith(" can't be written")]
        self.assertEqual(keys, ["database.url", "database.spool_dir", "providers.openai.dump_dir"])
        self.assertFalse(ReachedMark(None, database["url"]).is_set)
        self.assertIsNone(_revision(database["url"]))
