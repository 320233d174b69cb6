"""``./run bench``: measures everything in one run and tells what was reached.

The exit code is 0 when every figure is what it must be, 1 when one is missed or something failed.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import chart, document, report, suite
from benchmarks.scale import FULL, QUICK
from qreplica.errors import QReplicaError

CHART = Path("bench.png")
PAGE, ITS_CHART = Path("docs/performance.md"), Path("docs/images/bench.png")


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(prog="./run bench", description="How fast QReplica is on this machine.")
    parser.add_argument("--quick", action="store_true", help="2 GiB and 5,000 changes in place of 8 GiB and 20,000")
    parser.add_argument("--json", action="store_true", help="print one JSON object in the last line of stdout")
    parser.add_argument("--only", action="append", choices=suite.PARTS, help="measure only this part (repeatable)")
    parser.add_argument("--chart", type=Path, default=CHART, help=f"where the PNG goes (default: {CHART})")
    parser.add_argument("--document", action="store_true", help=f"write table and chart into {PAGE}")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("this needs root, for loop devices, mounts and network namespaces: use “sudo ./run bench”")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what is open is cleaned up
    console = Console(stderr=True, highlight=False)
    figures: dict[str, Any] = {"ok": False}
    try:
        scale = QUICK if arguments.quick else FULL
        measured = suite.run(scale, arguments.only or suite.PARTS, lambda text: console.print(text, markup=False))
        figures = report.judged({"scale": "quick" if arguments.quick else "full", **measured})
        chart.draw(figures, arguments.chart)
        if arguments.document:
            chart.draw(figures, ITS_CHART)
            document.update(PAGE, figures)
        shown = console if arguments.json else Console()
        shown.print(report.rates(figures))
        shown.print(report.table(figures))
        console.print(f"The chart is in {arguments.chart}", markup=False)
    except QReplicaError as error:
        figures |= {"error": error.kind, "sentence": error.sentence}
        console.print(error.sentence, markup=False)
    finally:
        if arguments.json:
            print(json.dumps(figures))
    return 0 if figures["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
