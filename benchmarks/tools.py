"""What a benchmark needs on the machine: the two C programs, nginx, a Python with aiohttp and uvloop."""

import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / ".build"
SOURCES = {"upstream": ["upstream.c", "script.c"], "load": ["load.c", "answer.c"]}
PACKAGES = {"gcc": ["gcc", "libc6-dev"], "nginx": ["nginx"]}
AIOHTTP_VENV = BUILD / "venv"


def compiled(program: str) -> Path:
    """Path of `program`, compiled if a source is newer than it."""
    target = BUILD / program
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    if not target.exists() or target.stat().st_mtime < newest:
        BUILD.mkdir(exist_ok=True)
        sources = [HERE / name for name in SOURCES[program]]
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", target, *sources], check=True)
    return target


def python_with_aiohttp() -> Path | None:
    """The running Python if it has them, else that of the environment which `install` makes."""
    if find_spec("aiohttp") and find_spec("uvloop"):
        return Path(sys.executable)
    python = AIOHTTP_VENV / "bin" / "python"
    return python if python.exists() else None


def install() -> None:
    """Fetch what is missing: programs with apt, packages into an environment under `.build`."""
    missing = [name for program in PACKAGES if not shutil.which(program) for name in PACKAGES[program]]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *missing], check=True)
    elif missing:
        print(f"install these yourself, it takes root and apt: {' '.join(missing)}", file=sys.stderr)
    if python_with_aiohttp() is None:
        venv.create(AIOHTTP_VENV, with_pip=True)
        subprocess.run([AIOHTTP_VENV / "bin" / "pip", "install", "--quiet", "aiohttp", "uvloop"], check=True)
