"""Runs the gateway with a recorder that drops all records: all the work but the database's."""

import sys
from argparse import ArgumentParser
from typing import Any

from aibridge.tap import install_reactor

install_reactor()

from twisted.internet import reactor  # noqa: E402 - the reactor that was just installed
from twisted.internet.defer import Deferred, succeed  # noqa: E402

from aibridge.config.loader import load_config  # noqa: E402
from aibridge.record.recorder import RecorderState  # noqa: E402
from aibridge.recorder import SQLRecorder  # noqa: E402
from aibridge.service import assembly  # noqa: E402
from aibridge.service.standalone import StandaloneGateway  # noqa: E402
from aibridge.tap import tune_garbage_collection  # noqa: E402


class DroppingRecorder(SQLRecorder):
    """Reports every record as durable at once."""

    def startService(self) -> "Deferred[None]":
        return succeed(None)

    def write(self, record: Any) -> "Deferred[None]":
        return succeed(None)

    def state(self) -> RecorderState:
        return RecorderState(database="", reason="", queued_rows=0, spooled_rows=0, spooled_bytes=0, refuses="")


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    config = load_config(parser.parse_args().config, {})
    assembly.SQLRecorder = DroppingRecorder  # type: ignore[misc]
    service = StandaloneGateway(config, reactor=reactor, on_failure=sys.exit)
    run: Any = reactor
    run.callWhenRunning(service.startService)
    run.callWhenRunning(tune_garbage_collection)
    run.addSystemEventTrigger("before", "shutdown", service.stopService)
    run.run()


if __name__ == "__main__":
    main()
