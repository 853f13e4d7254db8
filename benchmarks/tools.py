"""Programs that the benchmarks need: two in C, nginx, and a Python with aiohttp and uvloop."""

import os
import shutil
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
BUILD = HERE / ".build"
SOURCES = {"upstream": ["upstream.c", "script.c"], "load": ["load.c", "response.c"]}
PACKAGES = {"gcc": ["gcc", "libc6-dev"], "nginx": ["nginx"]}
AIOHTTP_VENV = BUILD / "venv"


def compiled(program: str) -> Path:
    """Return the path of `program`, compiled anew if a source is newer."""
    target = BUILD / program
    newest = max(path.stat().st_mtime for path in HERE.glob("*.[ch]"))
    if not target.exists() or target.stat().st_mtime < newest:
        BUILD.mkdir(exist_ok=True)
        sources = [HERE / name for name in SOURCES[program]]
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-o", target, *sources], check=True)
    return target


def python_with_aiohttp() -> Path | None:
    """Return the running Python if it has aiohttp and uvloop, else that of the environment made by `install`."""
    if find_spec("aiohttp") and find_spec("uvloop"):
        return Path(sys.executable)
    python = AIOHTTP_VENV / "bin" / "python"
    return python if python.exists() else None


def install() -> None:
    """Install missing programs with apt, and missing packages into an environment under `.build`."""
    missing = [name for program in PACKAGES if not shutil.which(program) for name in PACKAGES[program]]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *missing], check=True)
    elif missing:
        print(f"Missing programs, which only root can install with apt: {' '.join(missing)}", file=sys.stderr)
    if python_with_aiohttp() is None:
        venv.create(AIOHTTP_VENV, with_pip=True)
        subprocess.run([AIOHTTP_VENV / "bin" / "pip", "install", "--quiet", "aiohttp", "uvloop"], check=True)


def write_config(template: str, directory: Path, **values: object) -> Path:
    """Fill in a configuration's template, and return the path of the result in `directory`."""
    target = directory / template
    target.write_text(Template((HERE / "proxies" / template).read_text()).substitute(values))
    return target
