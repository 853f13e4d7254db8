"""The manual names files that exist, and its text fits on a screen."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

import aibridge
from aibridge import BreakerSettings, MCPServerSettings, errors, recorder, testing
from aibridge.config.loader import load_config
from aibridge.config.model import Config
from aibridge.providers.base import Provider
from aibridge.tracing.settings import TracingSettings

PACKAGE = Path(aibridge.__file__).parent
ROOT = PACKAGE.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COLUMNS = 100


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page, without its blocks of code."""
    is_code = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line


def exists(name: str) -> bool:
    """True for a file below the checkout or the package; one without a folder may be anywhere in either."""
    if (ROOT / name).exists() or (PACKAGE / name).exists():
        return True
    return "/" not in name and any(
        next(folder.rglob(name), None) for folder in (PACKAGE, ROOT / "docs", ROOT / "tests")
    )


class ManualTests(SynchronousTestCase):
    """All pages, README, CONTRIBUTING and CHANGELOG among them."""

    def test_files(self) -> None:
        """Every Python file that a page names in code font is there."""
        for page in PAGES:
            for number, line in prose(page):
                for name in re.findall(r"`([\w/]+\.py)`", line):
                    self.assertTrue(exists(name), f"{page.name}:{number}: {name}")

    def test_links(self) -> None:
        """Every relative link leads to a file."""
        for page in PAGES:
            folder = ROOT if page.name == "contributing.md" else page.parent
            for number, line in prose(page):
                for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", line):
                    self.assertTrue((folder / target).exists(), f"{page.name}:{number}: {target}")

    def test_logs(self) -> None:
        """The log lines shown have the names of modules that there are."""
        for page in PAGES:
            for name in re.findall(r"\[(aibridge[\w.]+)#", page.read_text(encoding="utf-8")):
                self.assertIsNotNone(find_spec(name), f"{page.name}: {name}")

    def test_public_names(self) -> None:
        """The page of the API has every name that a host program may import from the package or its public modules."""
        page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
        for module in (aibridge, recorder, testing):
            for name in module.__all__:
                self.assertRegex(page, rf"(:: {module.__name__}\.|:pyobject: ){name}\n", name)

    def test_errors(self) -> None:
        """The table of errors has a line for each kind of error that clients get."""
        lines = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
        rows = {(cells[0], *cells[2:]) for line in lines if (cells := line.strip("| ").split(" | "))}
        kinds = [errors.GatewayError]
        for kind in kinds:  # which grows meanwhile
            kinds += [each for each in kind.__subclasses__() if each.__module__ == errors.__name__]
            code = f"`{kind.code}`" if kind.code else "none"
            self.assertIn((str(kind.status), f"`{kind.anthropic_type}`", code), rows, kind.__name__)

    def test_settings(self) -> None:
        """The page of the configuration explains every key."""
        page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
        config = load_config(None, {})
        sections = [
            type(getattr(config, name.name))
            for name in fields(Config)
            if name.name not in ("otel", "providers", "warnings")
        ]
        for settings in (*sections, TracingSettings, Provider, BreakerSettings, MCPServerSettings):
            for key in {key.name for key in fields(settings)} - {"name", "servers"}:
                self.assertRegex(page, rf"(^|\n)\|?[^|\n]*`{key}`", f"{settings.__name__}.{key}")

    def test_defaults(self) -> None:
        """The file with all defaults is the configuration that there is without a file."""
        page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
        example = Path(self.mktemp())
        example.write_text(page.partition("```toml\n")[2].partition("```")[0], encoding="utf-8")
        self.assertEqual(load_config(str(example), {}), load_config(None, {}))

    def test_columns(self) -> None:
        """Lines of text end at 100 columns. Tables and code may be wider."""
        for page in PAGES:
            for number, line in prose(page):
                if not line.startswith(("|", "<!--")):
                    self.assertLessEqual(len(line), COLUMNS, f"{page.name}:{number}")
