"""The gateway of a soak: twistd, which writes what only the process itself knows to the file that comes first.

``python -m benchmarks.soak.gateway probe.json --nodaemon aibridge --config …``
"""

import asyncio
import json
import sys
import threading
from pathlib import Path

from twisted.application.service import IService
from twisted.internet.task import LoopingCall
from twisted.scripts import twistd

from aibridge import tap

SECONDS = 1.0


def probe(file: Path) -> None:
    """Write the numbers of delayed calls, asyncio tasks and threads."""
    from twisted.internet import reactor

    figures = {
        "delayed calls": len(reactor.getDelayedCalls()),
        "tasks": len(asyncio.all_tasks(asyncio.get_running_loop())),
        "threads": threading.active_count(),
    }
    new = file.with_suffix(".new")
    new.write_text(json.dumps(figures))
    new.rename(file)


def main() -> None:
    """Run twistd with the other arguments."""
    file = Path(sys.argv.pop(1)).absolute()
    make = tap.makeService

    def make_with_probe(options: tap.Options) -> IService:
        from twisted.internet import reactor

        reactor.callWhenRunning(LoopingCall(probe, file).start, SECONDS, now=False)
        return make(options)

    tap.makeService = make_with_probe
    twistd.run()


if __name__ == "__main__":
    main()
