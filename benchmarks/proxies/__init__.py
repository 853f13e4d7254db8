"""The gateway and the proxies beside it, each as a context manager that runs it in front of an upstream."""

import shutil
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from benchmarks.processes import Process, free_port, listening, started
from benchmarks.tools import python_with_aiohttp, write_config
from benchmarks.traffic import Upstream

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
    upstream: Upstream,
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
    values = {"port": port, "admin_port": admin_port, "upstream": upstream.address, "database": database}
    values["ca_file"] = f'ca_file = "{upstream.certificate}"' if upstream.certificate else ""
    config = write_config("aibridge.toml", directory, **values)
    with config.open("a") as file:
        file.write(addition)
    arguments = [*(command or _twistd_aibridge()), "--config", config, *options]
    with started(arguments, cores, directory) as process:
        process.wait_until(lambda: is_ready(f"http://127.0.0.1:{admin_port}/readyz"))
        yield Proxy(port, "/anthropic/v1/messages", process)


@contextmanager
def nginx(upstream: Upstream, directory: Path) -> Iterator[Proxy]:
    port = free_port()
    values = {"port": port, "upstream_port": upstream.port, "scheme": upstream.address.partition(":")[0]}
    trusted = f"proxy_ssl_verify on; proxy_ssl_trusted_certificate {upstream.certificate};"
    config = write_config("nginx.conf", directory, **values, tls=trusted if upstream.certificate else "")
    command: list[str | Path] = ["nginx", "-p", directory, "-c", config, "-e", "stderr"]
    with started(command, PROXY_CORE, directory) as process:
        process.wait_until(lambda: listening(port))
        yield Proxy(port, "/v1/messages", process)


@contextmanager
def aiohttp(upstream: Upstream, directory: Path) -> Iterator[Proxy]:
    port = free_port()
    python = python_with_aiohttp()
    assert python is not None, "why_not() has found it"
    command: list[str | Path] = [python, HERE / "aiohttp_proxy.py", str(port), upstream.address]
    command += [upstream.certificate] if upstream.certificate else []
    with started(command, PROXY_CORE, directory) as process:
        process.wait_until(lambda: listening(port))
        yield Proxy(port, "/v1/messages", process)


PROXIES: dict[str, Callable[[Upstream, Path], AbstractContextManager[Proxy]]] = {
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


def is_ready(url: str) -> bool:
    """Return True if a page of the operator's site responds with 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except OSError:
        return False
