"""Settings files of client programs: merging a few settings into a file, with a backup beside it."""

import json
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeAlias

from attrs import frozen

from ..errors import AIBridgeError

Tree: TypeAlias = "dict[str, Tree | str]"
"""Nested settings."""

_FIRST_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)


class SettingsFileError(AIBridgeError):
    """A settings file that can't be changed; it is as it was."""


@frozen
class FileFormat:
    """The syntax of a settings file."""

    name: str
    show: Callable[[Tree], str]
    """Return a file's content with these settings alone."""
    merge: Callable[[str, Tree], str]
    """Return a file's content with these settings added or replaced. Raise ValueError if it can't be parsed."""


def write_settings(path: Path, form: FileFormat, settings: Tree, now: datetime | None = None) -> Iterator[str]:
    """Write settings into a file, which keeps everything else, and say what was done.

    Raise SettingsFileError, with the file left as it was, if it can't be parsed or written.
    """
    real = path.resolve()  # a settings file may be a link into a folder of dotfiles
    try:
        old = real.read_text(encoding="utf-8") if real.exists() else ""
        new = form.merge(old, settings) if old.strip() else form.show(settings) + "\n"
        if new == old:
            yield f"{path} has these settings already"
            return
        real.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if real.exists():
            backup = real.with_name(f"{real.name}.{now or datetime.now(UTC):%Y%m%dT%H%M%S%f}.bak")
            shutil.copy2(real, backup)
            yield f"{backup} is a copy of the file as it was"
        replace_file(real, new, mode=real.stat().st_mode & 0o777 if real.exists() else 0o600)
        yield f"{path} is written"
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SettingsFileError(
            f"{path} is left as it is: it can't be read as {form.name} ({reason}); add the settings by hand"
        ) from error
    except OSError as error:
        raise SettingsFileError(f"{path} can't be written: {error.strerror}") from error


def replace_file(path: Path, content: str, *, mode: int) -> None:
    """Put a new file in the place of that one, if there is one: at once, or not at all."""
    with NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(mode)
            Path(file.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(file.name).unlink()
            raise


def _show_json(settings: Tree) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False)


def _merge_json(content: str, settings: Tree) -> str:
    document = json.loads(content)
    merged = _merge_trees(document, settings, "")
    return content if merged == document else _show_json(merged) + "\n"


def _merge_trees(document: object, settings: Tree, where: str) -> Tree:
    """Return the document with the settings in it. Raise ValueError where it has another kind of value for a table."""
    if not isinstance(document, dict):
        raise ValueError(f"{where or 'the whole'} must be an object")
    merged: Tree = dict(document)
    for name, value in settings.items():
        place = f"{where}.{name}" if where else name
        merged[name] = value if isinstance(value, str) else _merge_trees(document.get(name, {}), value, place)
    return merged


def _show_toml(settings: Tree) -> str:
    return "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())


def _merge_toml(content: str, settings: Tree) -> str:
    """Return TOML with strings set at its top. Comments and all other lines stay as they are.

    Python has no writer of TOML that keeps them: the lines are changed, and the result is parsed to prove it right.
    """
    before = tomllib.loads(content)
    for name, value in settings.items():
        if before.get(name) == value:
            continue
        line = f"{name} = {json.dumps(value)}"
        table = _FIRST_TABLE.search(content)
        end = table.start() if table else len(content)
        top, count = re.subn(
            rf"^[ \t]*{re.escape(name)}[ \t]*=.*$", line.replace("\\", r"\\"), content[:end], flags=re.M
        )
        content = (top if count else f"{line}\n{top}") + content[end:]
    if tomllib.loads(content) != before | settings:
        raise ValueError("its lines have an unusual form")
    return content


JSON = FileFormat("JSON", _show_json, _merge_json)
TOML = FileFormat("TOML", _show_toml, _merge_toml)
