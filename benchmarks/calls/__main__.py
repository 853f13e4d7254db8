"""Count the calls that one small request and one streamed event make in the gateway."""

import json
from argparse import ArgumentParser

from benchmarks.calls.gateway import Measured, measure
from benchmarks.report import aligned

COLUMNS = ("calls", "functions", "files", "objects", "deferreds")


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--list", action="store_true", help="print every call, indented by depth")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    measured = measure()
    if options.json:
        print(json.dumps({name: traces[0].figures() for name, traces in measured.items()}))
        return
    if options.list:
        print(_lists(measured))
    print(_table(measured))


def _lists(measured: Measured) -> str:
    sections = []
    for name, (reactor, others) in measured.items():
        sections += [f"## {name}", "", *(call.line for call in reactor.calls), ""]
        if others.calls:
            sections += [f"## {name}, other threads", "", *(call.line for call in others.calls), ""]
    return "\n".join(sections)


def _table(measured: Measured) -> str:
    rows = [["", *COLUMNS]]
    for name, (reactor, others) in measured.items():
        rows.append([name, *(str(reactor.figures()[column]) for column in COLUMNS)])
        rows.append(["other threads", *(str(others.figures()[column]) for column in COLUMNS)])
    return "\n".join(aligned(rows))


if __name__ == "__main__":
    main()
