"""What is installed, and that it works away from its source."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

from twisted.trial.unittest import SynchronousTestCase

import aibridge

SOURCE = Path(__file__).parents[1]
INGREDIENTS = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "aibridge", "twisted", "twisted_plugins")
FURTHER = (
    "MANIFEST.in",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "lowest.txt",
    "tox.ini",
    "docs",
    "packaging",
    "tests",
    "benchmarks",
)
"""What the tests read, and a wheel does not need."""

EXTRAS = ("postgresql", "aws", "google", "azure")
"""The extras whose lowest versions are tested."""
REQUIREMENT = re.compile(r"Requires-Dist: ([\w-]+)(?:\[\w+\])?>=([\d.]+)(?: ?;.*)?")


class WheelTests(SynchronousTestCase):
    """A wheel, made of a copy of the source."""

    if not find_spec("setuptools"):
        skip = "setuptools builds the wheel, and is not installed"

    def copy(self, *names: str) -> Path:
        """A copy of these parts of the source."""
        copy = Path(self.mktemp())
        copy.mkdir()
        for name in names:
            path = SOURCE / name
            if path.is_dir():
                shutil.copytree(
                    path, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "_build")
                )
            else:
                shutil.copy(path, copy)
        return copy

    def wheel(self) -> Path:
        """A fresh wheel."""
        copy = self.copy(*INGREDIENTS)
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
        made = subprocess.run(build, cwd=copy, capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        (wheel,) = (copy / "dist").iterdir()
        return wheel.absolute()

    def test_lowest_versions(self) -> None:
        """Every dependency has a lower bound, and ``tox -e lowest`` runs the tests with exactly these versions."""
        wheel = self.wheel()
        with ZipFile(wheel) as archive:
            [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            lines = archive.read(metadata).decode().splitlines()
        needed = [line for line in lines if line.startswith("Requires-Dist:")]
        bounds = {
            match[1].lower(): match[2]
            for line in needed
            if "extra ==" not in line or any(f'extra == "{name}"' in line for name in EXTRAS)
            if (match := REQUIREMENT.fullmatch(line))
        }
        lowest = (SOURCE / "lowest.txt").read_text("utf-8").splitlines()
        self.assertEqual(bounds, dict(line.split("==") for line in lowest if not line.startswith("#")))
        self.assertEqual([line for line in needed if "extra ==" not in line and not REQUIREMENT.fullmatch(line)], [])

    def test_sdist(self) -> None:
        """The source that is published has the tests, and all that they read; its metadata has the project's addresses."""
        copy = self.copy(*INGREDIENTS, *FURTHER)
        build = "import sys, setuptools.build_meta as build; sys.stdout = sys.stderr; build.build_sdist('dist')"
        made = subprocess.run([sys.executable, "-c", build], cwd=copy, capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        [archive] = (copy / "dist").iterdir()
        with tarfile.open(archive) as sdist:
            names = {name.partition("/")[2] for name in sdist.getnames()}
            [head] = [
                member for member in sdist.getmembers() if member.name.count("/") == 1 and "PKG-INFO" in member.name
            ]
            metadata = sdist.extractfile(head).read().decode()  # type: ignore[union-attr]
        for part in ("tests", "docs", "packaging", "aibridge", "benchmarks"):
            files = {str(path.relative_to(copy)) for path in (copy / part).rglob("*") if path.is_file()}
            missing = {name for name in files - names if "egg-info" not in name}
            self.assertEqual(missing, set(), part)
        for address in ("Documentation", "Source", "Issues", "Changelog"):
            self.assertIn(f"Project-URL: {address}, https://", metadata)

    def test_twistd_knows_it(self) -> None:
        """From the wheel alone, ``twistd aibridge --help`` works, and nothing of Twisted's own is replaced."""
        wheel = self.wheel()
        self.assertTrue(wheel.name.startswith(f"aibridge-{aibridge.__version__}-"), wheel.name)
        target = wheel.parent / "installed"
        with ZipFile(wheel) as archive:
            names = archive.namelist()
            archive.extractall(target)
        for name in (
            "twisted/plugins/aibridge_plugin.py",
            "aibridge/py.typed",
            "aibridge/record/migrations/sqlite.sql",
        ):
            self.assertIn(name, names)
        self.assertTrue(any(name.startswith("aibridge/record/migrations/versions/") for name in names))
        self.assertFalse({"twisted/__init__.py", "twisted/plugins/__init__.py"}.intersection(names))
        ran = subprocess.run(
            [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "aibridge", "--help"],
            cwd=wheel.parent,
            env=os.environ | {"PYTHONPATH": str(target)},
            capture_output=True,
            text=True,
        )
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("--admin-listen", ran.stdout)
