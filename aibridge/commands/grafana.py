"""The command that writes boards for Grafana and alert rules for Prometheus."""

from collections.abc import Iterator
from pathlib import Path

from ..boards.files import make_files
from ..config.model import Config
from ..errors import ConfigError


def write_boards(config: Config, out: str) -> Iterator[str]:
    """Write boards and data sources for Grafana, and alert rules for Prometheus, over those that are there."""
    for name, content in make_files().items():
        path = Path(out) / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigError("command line", "--out", f"{path}: {error.strerror}") from error
        yield str(path)
