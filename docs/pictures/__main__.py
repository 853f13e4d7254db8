"""Take the manual's pictures of the console: ``python docs/pictures``. It needs Chromium.

The gateway runs with ``--demo`` in a temporary folder, over a database that ``aibridge demo fill`` has filled.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
PICTURES = {
    "overview": ("/", 1280, 1000, False),
    "overview-dark": ("/", 1280, 1000, True),
    "sessions": ("/sessions", 1280, 720, False),
    "session": ("SESSION", 1280, 1000, False),
    "people": ("/people", 1280, 640, False),
    "telephone": ("SESSION", 420, 900, True),
}
"""For each picture the path, the width, the height, and whether the scheme is dark."""

SECONDS_TO_START = 60


def main() -> None:
    """Start the gateway, and take every picture."""
    with TemporaryDirectory(prefix="aibridge-pictures-") as temporary, _gateway(Path(temporary)) as site:
        session = _first_session(site)
        for name, (path, width, height, dark) in PICTURES.items():
            _take(site + path.replace("SESSION", f"/sessions/{session}"), HERE / f"{name}.png", width, height, dark)


@contextmanager
def _gateway(folder: Path) -> Iterator[str]:
    """Run a gateway over a filled database, and give the address of its operator's site."""
    python, database = sys.executable, "sqlite:///pictures.sqlite"
    subprocess.run([python, "-m", "aibridge", "demo", "fill", "--database", database], cwd=folder, check=True)
    port, other = _free_port(), _free_port()
    listeners = ["--listen", f"tcp:{other}:interface=127.0.0.1", "--admin-listen", f"tcp:{port}:interface=127.0.0.1"]
    command = [python, "-m", "aibridge", "run", "--database", database, *listeners]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as gateway:
        try:
            _wait_for(f"http://127.0.0.1:{port}/healthz")
            yield f"http://127.0.0.1:{port}"
        finally:
            gateway.terminate()


def _first_session(site: str) -> str:
    """Return the id of the session with the most requests among the last ones."""
    with urllib.request.urlopen(f"{site}/api/v1/sessions?limit=200") as answer:
        rows = json.load(answer)["data"]
    return str(max(rows, key=lambda row: row["interceptions"])["id"])


def _take(url: str, target: Path, width: int, height: int, dark: bool) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is not installed.")
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    subprocess.run(
        [
            browser,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            *scheme,
            f"--screenshot={target}",
            url,
        ],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    print(target.name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url).close()
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"{url} did not respond in {SECONDS_TO_START} s.")


if __name__ == "__main__":
    main()
