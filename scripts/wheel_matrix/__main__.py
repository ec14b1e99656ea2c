"""Try the wheel in clean environments: ``python -m wheel_matrix --help``."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from local_stack.exchange import Exchange
from local_stack.postgres import EmbeddedPostgres
from local_stack.processes import dying_with_parent
from wheel_matrix.cells import EVERY, PYTHONS, QUICK, Cell, find_python
from wheel_matrix.checks import CleanEnvironment, Desk, Result, build_wheel, forget
from wheel_matrix.constraints import write_all
from wheel_matrix.page import table, write_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what was asked for and return the exit status."""
    parsed = _parsed(arguments)
    if parsed.write_constraints:
        write_all()
        return 0
    with tempfile.TemporaryDirectory(prefix="wheel-matrix-") as place:
        results = _try(_asked(parsed), Path(place))
    print(table(results))
    if parsed.all:
        write_page(results)
    tried = [result for result in results if not result.skipped]
    if not tried:
        print("nothing was tried: no Python of those is here", file=sys.stderr)
    return 0 if tried and all(result.is_good for result in tried) else 1


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wheel_matrix", description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--all", action="store_true", help="every cell, and write the page; else two corners")
    kind.add_argument(
        "--airflow", choices=sorted({cell.airflow for cell in EVERY}), help="cells of this alone"
    )
    kind.add_argument("--write-constraints", action="store_true", help="derive deploy/constraints anew")
    parser.add_argument("--python", choices=PYTHONS, help="cells of this alone")
    return parser.parse_args(arguments)


def _asked(parsed: argparse.Namespace) -> list[Cell]:
    chosen = EVERY if parsed.all or parsed.airflow or parsed.python else QUICK
    cells = [
        cell
        for cell in chosen
        if parsed.airflow in {None, cell.airflow} and parsed.python in {None, cell.python}
    ]
    return cells or sys.exit("no such cell; see docs/reference/supported-versions.md")


def _try(cells: Sequence[Cell], place: Path) -> list[Result]:
    wheel = build_wheel(place)
    results = []
    with EmbeddedPostgres(place / "postgres") as server, _simulator(place) as exchange:
        desk = Desk(server.url("postgres"), exchange.accounts()[0])
        for number, cell in enumerate(cells):
            results.append(_one(cell, wheel, place / str(number), desk))
    return results


def _one(cell: Cell, wheel: Path, place: Path, desk: Desk) -> Result:
    python = find_python(cell.python)
    if python is None:
        print(
            f"{cell}: SKIPPED, no Python {cell.python} is on the path, in PYTHON or among pyenv's", flush=True
        )
        return Result(cell, skipped="not tried")
    place.mkdir()
    result = CleanEnvironment(cell, python, wheel, place, desk).try_all()
    forget(place)
    for step, wrong in result.steps.items():
        print(f"{cell}: {step}: {wrong or 'good'}", flush=True)
    return result


@contextmanager
def _simulator(place: Path) -> Iterator[Exchange]:
    log = place / "simulator.log"
    command = [sys.executable, "-m", "kraken_sim", "--host", "127.0.0.1", "--port", "0", "--scenario", "demo"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            preexec_fn=dying_with_parent(),  # noqa: PLW1509 - started from the main thread
        )
    assert process.stdout  # noqa: S101 - it is a pipe
    try:
        heard = next((line for line in process.stdout if line.startswith("listening on ")), "")
        if not heard:
            sys.exit(f"the simulator did not start:\n{log.read_text()}")
        yield Exchange(heard.split()[2].rstrip("/"))
    finally:
        process.terminate()
        process.wait(timeout=10)


if __name__ == "__main__":
    sys.exit(main())
