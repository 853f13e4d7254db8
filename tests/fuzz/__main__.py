"""Runs targets with atheris, one after the other: ``python -m tests.fuzz [--seconds 60] [target …]``.

https://github.com/google/atheris
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .targets import TARGETS

CORPUS = Path(__file__).with_name("corpus")


def main() -> int:
    """Each target gets a process of its own, since atheris ends it. The exit status is that of the first that fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    for name in options.targets or TARGETS:
        with TemporaryDirectory() as found:
            limits = [f"-max_total_time={options.seconds}", "-timeout=10", "-rss_limit_mb=1024", "-len_control=0"]
            finds = [found, str(CORPUS / name), *limits, f"-artifact_prefix={name}-"]
            status = subprocess.run([sys.executable, "-m", "tests.fuzz.one", name, *finds], check=False).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
