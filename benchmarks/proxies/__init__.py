"""The gateway and the proxies beside it, each as a context manager that runs it in front of an upstream."""

import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from string import Template

from attrs import frozen

from benchmarks.processes import Process, free_port, listening, started
from benchmarks.tools import python_with_aiohttp

HERE = Path(__file__).parent
PROXY_CORE = 0


@frozen
class Proxy:
    """A proxy that is ready for requests."""

    port: int
    path: str
    process: Process


@contextmanager
def aibridge(
    upstream_port: int,
    directory: Path,
    database: str = "sqlite:///bench.sqlite",
    command: Sequence[str | Path] = (),
    addition: str = "",
    options: Sequence[str] = (),
    cores: int | str = PROXY_CORE,
) -> Iterator[Proxy]:
    """Run the gateway as a user does, or by another `command`. Clients are anonymous and send their own keys.

    `addition` is the end of its configuration's file, behind the provider's table.
    """
    port, admin_port = free_port(), free_port()
    values = {"port": port, "admin_port": admin_port, "upstream_port": upstream_port, "database": database}
    config = write_config("aibridge.toml", directory, **values)
    with config.open("a") as file:
        file.write(addition)
    arguments = [*(command or _twistd_aibridge()), "--config", config, *options]
    with started(arguments, cores, directory) as process:
        process.wait_until(lambda: is_ready(f"http://127.0.0.1:{admin_port}/readyz"))
        yield Proxy(port, "/anthropic/v1/messages", process)


@contextmanager
def nginx(upstream_port: int, directory: Path) -> Iterator[Proxy]:
    port = free_port()
    config = write_config("nginx.conf", directory, port=port, upstream_port=upstream_port)
    command: list[str | Path] = ["nginx", "-p", directory, "-c", config, "-e", "stderr"]
    with started(command, PROXY_CORE, directory) as process:
        process.wait_until(lambda: listening(port))
        yield Proxy(port, "/v1/messages", process)


@contextmanager
def aiohttp(upstream_port: int, directory: Path) -> Iterator[Proxy]:
    port = free_port()
    python = python_with_aiohttp()
    assert python is not None, "why_not() has found it"
    command: list[str | Path] = [python, HERE / "aiohttp_proxy.py", str(port), str(upstream_port)]
    with started(command, PROXY_CORE, directory) as process:
        process.wait_until(lambda: listening(port))
        yield Proxy(port, "/v1/messages", process)


PROXIES: dict[str, Callable[[int, Path], AbstractContextManager[Proxy]]] = {
    "aibridge": aibridge,
    "nginx": nginx,
    "aiohttp": aiohttp,
}


def why_not(name: str) -> str | None:
    """Return what this proxy lacks on this machine, in a sentence; None if it can run."""
    if name == "aibridge" and not (find_spec("aibridge.tap") and _twistd().exists()):
        return "aibridge is not installed in this Python"
    if name == "nginx" and not shutil.which("nginx"):
        return "nginx is not installed; try --install"
    if name == "aiohttp" and python_with_aiohttp() is None:
        return "aiohttp and uvloop are not installed; try --install"
    return None


def _twistd() -> Path:
    return Path(sys.executable).with_name("twistd")


def _twistd_aibridge() -> list[str | Path]:
    return [_twistd(), "--nodaemon", "--pidfile=", "aibridge"]


def write_config(template: str, directory: Path, **values: object) -> Path:
    """Fill in a configuration's template, and return the path of the result in `directory`."""
    target = directory / template
    target.write_text(Template((HERE / template).read_text()).substitute(values))
    return target


def is_ready(url: str) -> bool:
    """Return True if a page of the operator's site responds with 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False
