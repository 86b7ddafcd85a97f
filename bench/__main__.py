"""Runs the benches one after another, keeps what each reports, and writes the page from it: `make bench`.

    python -m bench [NAME ...] [--size quick|full|smoke] [--locomo FILE] [--longmemeval FILE] [--results bench/results] [--no-page]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench import page
from bench.catalogue import BENCHES, LOCOMO, LONGMEMEVAL, SIZES, Bench

RESULTS = Path(__file__).parent / "results"
NAMES = [one.name for one in BENCHES]


def main() -> None:
    parser = options()
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no bench is called {', '.join(sorted(unknown))}")
    data = {LOCOMO: arguments.locomo, LONGMEMEVAL: arguments.longmemeval}
    failed = []
    for bench in BENCHES:
        if arguments.names and bench.name not in arguments.names:
            continue
        if bench.data and data[bench.data] is None:
            print(f"== {bench.name}: skipped; it needs {bench.data}'s data: --{bench.data.lower()} FILE", flush=True)
        elif not ran(bench, bench.arguments(arguments.size, data.get(bench.data)), arguments.results):
            failed.append(bench.name)
    if not arguments.no_page:
        page.PAGE.write_text(page.written(page.reports(arguments.results)))
        print(f"written: {page.PAGE}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def ran(bench: Bench, arguments: list[str], results: Path) -> bool:
    """Runs one as a process of its own; whether it came to its end."""
    command = [sys.executable, "-m", f"bench.{bench.name}", *arguments, "--json", str(results / f"{bench.name}.json")]
    print(f"== {' '.join(command[1:])}", flush=True)
    return subprocess.run(command, check=False).returncode == 0


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"only these of {', '.join(NAMES)}")
    parser.add_argument("--size", choices=SIZES, default="quick")
    parser.add_argument("--locomo", type=Path, help="locomo_dev.json, for what asks its questions")
    parser.add_argument("--longmemeval", type=Path, help="longmemeval_s.json, for what asks its questions")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the reports are kept")
    parser.add_argument("--no-page", action="store_true", help="docs/performance.md stays as it is")
    return parser


if __name__ == "__main__":
    main()
