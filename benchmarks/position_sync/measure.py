"""The database part of ``position_sync``, beside a row-by-row ORM loop and beside bare set-based SQL.

1. Every run starts from an identical fresh database and must leave the same rows as every other.
2. The ways take turns within one process and on one durable server, and ratios are taken pair by pair.
3. The product keeps average costs, as any run of it does; no other way does.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import RESULTS, keep, publish, surroundings
from benchmarks.position_sync import bare_sql, naive_orm, product, table
from benchmarks.position_sync.changed_rows import measure_lock_hold, measure_log
from benchmarks.position_sync.desk_book import measure_pairs
from benchmarks.position_sync.laboratory import end_state, laboratory
from benchmarks.position_sync.unchanged_pass import measure_unchanged_pass
from benchmarks.position_sync.workload import Scale, make_desk
from benchmarks.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.position_sync.laboratory import Laboratory, TableState
    from benchmarks.position_sync.workload import Desk, PreparedWork

OUTPUT: Final = RESULTS / "position_sync.json"
SCALES: Final = {
    "full": Scale(),
    "wide": Scale(accounts=10_000, positions=20),
    "small": Scale(accounts=100),
    "tiny": Scale(accounts=4, positions=10),
}
WAYS: Final[dict[str, Callable[[str, Sequence[PreparedWork]], None]]] = {
    "product": product.sync,
    "bare_sql": bare_sql.sync,
    "naive_orm": naive_orm.sync,
    "careful_orm": naive_orm.sync_carefully,
    "without_costs": product.sync_without_costs,
}
LOOPS: Final = ("naive_orm", "careful_orm")


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one round by way: the loops once, product and bare SQL in pairs, right after each other."""

    seconds: dict[str, tuple[float, ...]]

    def to_product(self, loop: str) -> tuple[float, ...]:
        """How many times faster the product is than a loop of the same round, if that ran."""
        middle = statistics.median(self.seconds["product"])
        return tuple(taken / middle for taken in self.seconds[loop])

    @property
    def product_to_bare(self) -> tuple[float, ...]:
        """How many times slower the product is than bare SQL, pair by pair."""
        pairs = zip(self.seconds["product"], self.seconds["bare_sql"], strict=True)
        return tuple(a / b for a, b in pairs)


class Comparison:
    """Runs the ways and holds them to the same end."""

    def __init__(self, place: Laboratory, desk: Desk) -> None:
        self._laboratory = place
        self._desk = desk
        self.state: dict[str, TableState] | None = None

    def seconds_of(self, way: str) -> float:
        """Measure one way on a fresh database.

        Raises:
            AssertionError: it left other rows than the ways before it.
        """
        with self._laboratory.fresh_database() as url:
            prepared = self._desk.prepared_works()
            gc.collect()
            started = time.perf_counter()
            WAYS[way](url, prepared)
            seconds = time.perf_counter() - started
            state = end_state(url)
        if self.state is None:
            self.state = state
        if state != self.state:
            differing = [name for name, table in state.items() if table != self.state[name]]
            raise AssertionError(f"{way} left other rows than the ways before it in {', '.join(differing)}")
        return seconds

    def round(self, number: int, pairs: int, loops: Sequence[str]) -> Round:
        """Measure one round: who goes first alternates, and the loops run in the midst of the pairs."""
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for pair in range(pairs):
            if pair == pairs // 2:
                for loop in ("without_costs", *loops):
                    seconds[loop].append(self.seconds_of(loop))
            order = ("product", "bare_sql") if (number + pair) % 2 else ("bare_sql", "product")
            for way in order:
                seconds[way].append(self.seconds_of(way))
        return Round({way: tuple(taken) for way, taken in seconds.items()})


def _compare_ways(
    place: Laboratory, desk: Desk, rounds: Sequence[Sequence[str]], pairs: int
) -> dict[str, Any]:
    """Measure the ways, with the loops that each round names."""
    comparison = Comparison(place, desk)
    # The first use of a way imports and compiles; that is nobody's sync.
    comparison.seconds_of("bare_sql")
    comparison.seconds_of("product")
    measured = []
    for number, loops in enumerate(rounds):
        measured.append(comparison.round(number, pairs, loops))
        _say(f"round {number + 1} of {len(rounds)}: {_round_line(measured[-1])}")
    assert comparison.state is not None
    of_way = {way: [s for r in measured for s in r.seconds[way]] for way in WAYS}
    to_product = {loop: [s for r in measured for s in r.to_product(loop)] for loop in LOOPS}
    return {
        "scale": {
            "accounts": len(desk.accounts),
            "positions_per_account": len(desk.accounts[0].recorded),
            "positions": sum(len(account.recorded) for account in desk.accounts),
            "drifted_positions": desk.missed_entries,
        },
        "seconds": {way: _summary(taken) for way, taken in of_way.items() if taken},
        "ratios": {
            **{f"{loop}_to_product": _summary(taken) for loop, taken in to_product.items() if taken},
            "product_to_bare_sql": _summary([ratio for r in measured for ratio in r.product_to_bare]),
        },
        "end_states_are_equal": True,
        "end_state": {name: asdict(state) for name, state in comparison.state.items()},
    }


def measure(server_url: str, scale: Scale, *, rounds: int, pairs: int) -> dict[str, Any]:
    """Measure everything at one scale and return the figures."""
    desk = make_desk(scale)
    around = surroundings(server_url)
    with laboratory(server_url, desk) as place:
        # The loop that leaves equal rows alone is no goal's: once is enough.
        ways = _compare_ways(place, desk, [LOOPS, *[LOOPS[:1]] * (rounds - 1)], pairs)
        book, compared = measure_pairs(place, desk, pairs)
        unchanged = measure_unchanged_pass(place, desk)
        changed = measure_log(place, desk)
    held = measure_lock_hold(server_url, accounts=min(200, scale.accounts), positions=scale.positions)
    return {
        **around,
        **ways,
        "desk_book": {
            "rows": book.rows,
            "differing": book.behind,
            "seconds": _summary([pair.comparing for pair in compared]),
            "share_of_sync": _summary([pair.comparing / pair.sync for pair in compared]),
        },
        "unchanged_pass": unchanged,
        "changed_rows": changed,
        "lock_hold": held,
    }


def measure_wide(server_url: str) -> dict[str, Any]:
    """Measure ten times as many accounts of fewer positions: the ways alone, the naive loop once."""
    desk = make_desk(SCALES["wide"])
    with laboratory(server_url, desk) as place:
        return _compare_ways(place, desk, [LOOPS[:1]], 3)


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(values), 3),
        "minimum": round(min(values), 3),
        "maximum": round(max(values), 3),
        "all": [round(value, 3) for value in values],
    }


def _round_line(one: Round) -> str:
    return ", ".join(f"{way} {statistics.median(taken):.2f} s" for way, taken in one.seconds.items() if taken)


def _say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and keep and publish the figures of a full run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, default="full", help="full measures wide as well")
    parser.add_argument("--rounds", type=int, default=2, help="rounds; the naive loop runs once in each")
    parser.add_argument("--pairs", type=int, default=4, help="times product and bare SQL run per round")
    parser.add_argument(
        "--server", metavar="URL", help="a superuser's URL; default: a durable server of its own"
    )
    parser.add_argument("--output", type=Path, help=f"default for the full scale: {OUTPUT.name} in results/")
    options = parser.parse_args(arguments)
    is_full = options.scale == "full"
    with running_server(options.server) as server_url:
        figures = measure(server_url, SCALES[options.scale], rounds=options.rounds, pairs=options.pairs)
        if is_full:
            figures["wide"] = measure_wide(server_url)
    _say("\n" + table.markdown(figures))
    output = options.output or (OUTPUT if is_full else None)
    if output:
        keep(figures, output)
    if is_full:
        publish("make bench", table.markdown(figures))
        publish("make bench", table.sentence(figures), page=table.WHAT_IT_DOES)


if __name__ == "__main__":
    main()
