"""The database part of ``position_sync``, beside a row-by-row ORM loop and beside bare set-based SQL.

1. Every run starts from an identical fresh database and must leave the same rows as every other.
2. The ways take turns within one process and on one durable server, and ratios are taken pair by pair.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import RESULTS, keep, surroundings
from benchmarks.position_sync import bare_sql, naive_orm, product
from benchmarks.position_sync.desk_book import measure_pairs
from benchmarks.position_sync.laboratory import end_state, laboratory
from benchmarks.position_sync.unchanged_pass import UNTOUCHED, measure_unchanged_pass
from benchmarks.position_sync.workload import Scale, make_desk
from benchmarks.servers import running_server

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.position_sync.laboratory import Laboratory, TableState
    from benchmarks.position_sync.workload import Desk, PreparedWork

OUTPUT: Final = RESULTS / "position_sync.json"
SCALES: Final = {"full": Scale(), "small": Scale(accounts=100), "tiny": Scale(accounts=4, positions=10)}
WAYS: Final[dict[str, Callable[[str, Sequence[PreparedWork]], None]]] = {
    "product": product.sync,
    "bare_sql": bare_sql.sync,
    "naive_orm": naive_orm.sync,
    "careful_orm": naive_orm.sync_carefully,
    "product_with_costs": product.sync_with_costs,
}
FASTER_THAN_NAIVE_GOAL: Final = 40
SLOWER_THAN_BARE_GOAL: Final = 2
DESK_BOOK_SHARE_GOAL: Final = 0.3


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one round: the loops once, the other two several times, one right after the other."""

    product: tuple[float, ...]
    bare_sql: tuple[float, ...]
    naive_orm: float
    careful_orm: float
    product_with_costs: float

    @property
    def naive_to_product(self) -> float:
        """How many times faster the product is than the naive loop of the same round."""
        return self.naive_orm / statistics.median(self.product)

    @property
    def careful_to_product(self) -> float:
        """How many times faster the product is than the careful loop of the same round."""
        return self.careful_orm / statistics.median(self.product)

    @property
    def product_to_bare(self) -> tuple[float, ...]:
        """How many times slower the product is than bare SQL, pair by pair."""
        return tuple(a / b for a, b in zip(self.product, self.bare_sql, strict=True))


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
        if way == "product_with_costs":
            return seconds
        if self.state is None:
            self.state = state
        if state != self.state:
            differing = [name for name, table in state.items() if table != self.state[name]]
            raise AssertionError(f"{way} left other rows than the ways before it in {', '.join(differing)}")
        return seconds

    def round(self, number: int, pairs: int) -> Round:
        """Measure one round: who goes first alternates, and the loops run in the midst of the pairs."""
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for pair in range(pairs):
            if pair == pairs // 2:
                for loop in ("product_with_costs", "naive_orm", "careful_orm"):
                    seconds[loop].append(self.seconds_of(loop))
            order = ("product", "bare_sql") if (number + pair) % 2 else ("bare_sql", "product")
            for way in order:
                seconds[way].append(self.seconds_of(way))
        return Round(
            tuple(seconds["product"]),
            tuple(seconds["bare_sql"]),
            seconds["naive_orm"][0],
            seconds["careful_orm"][0],
            seconds["product_with_costs"][0],
        )


def measure(server_url: str, scale: Scale, *, rounds: int, pairs: int) -> dict[str, Any]:
    """Measure everything and return the figures."""
    desk = make_desk(scale)
    around = surroundings(server_url)
    with laboratory(server_url, desk) as place:
        comparison = Comparison(place, desk)
        # The first use of a way imports and compiles; that is nobody's sync.
        comparison.seconds_of("bare_sql")
        comparison.seconds_of("product")
        measured = []
        for number in range(rounds):
            measured.append(comparison.round(number, pairs))
            _say(f"round {number + 1} of {rounds}: {_round_line(measured[-1])}")
        book, compared = measure_pairs(place, desk, pairs)
        unchanged = measure_unchanged_pass(place, desk)
    assert comparison.state is not None
    return {
        **around,
        "scale": {
            "accounts": scale.accounts,
            "positions_per_account": scale.positions,
            "positions": scale.accounts * scale.positions,
            "drifted_positions": desk.missed_entries,
        },
        "seconds": {
            "product": _summary([s for r in measured for s in r.product]),
            "bare_sql": _summary([s for r in measured for s in r.bare_sql]),
            "naive_orm": _summary([r.naive_orm for r in measured]),
            "careful_orm": _summary([r.careful_orm for r in measured]),
            "product_with_costs": _summary([r.product_with_costs for r in measured]),
        },
        "ratios": {
            "naive_orm_to_product": _summary([r.naive_to_product for r in measured]),
            "careful_orm_to_product": _summary([r.careful_to_product for r in measured]),
            "product_to_bare_sql": _summary([ratio for r in measured for ratio in r.product_to_bare]),
        },
        "end_states_are_equal": True,
        "end_state": {name: asdict(table) for name, table in comparison.state.items()},
        "desk_book": {
            "rows": book.rows,
            "differing": book.behind,
            "seconds": _summary([pair.comparing for pair in compared]),
            "share_of_sync": _summary([pair.comparing / pair.sync for pair in compared]),
        },
        "unchanged_pass": unchanged,
    }


def _summary(values: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(values), 3),
        "minimum": round(min(values), 3),
        "maximum": round(max(values), 3),
        "all": [round(value, 3) for value in values],
    }


def _round_line(one: Round) -> str:
    product_seconds, bare_seconds = statistics.median(one.product), statistics.median(one.bare_sql)
    return (
        f"product {product_seconds:.2f} s, bare SQL {bare_seconds:.2f} s, naive ORM {one.naive_orm:.1f} s, "
        f"careful ORM {one.careful_orm:.1f} s"
    )


def table(figures: dict[str, Any]) -> str:
    """Write the figures as a table for people."""
    seconds, ratios, unchanged = figures["seconds"], figures["ratios"], figures["unchanged_pass"]
    whole = unchanged["wal_bytes_of_whole_pass"]
    positions = figures["scale"]["positions"]
    product_seconds = seconds["product"]["median"]
    lines = [
        f"{'way':<28} {'median s':>9} {'min':>8} {'max':>8} {'positions/s':>12} {'times product':>14}",
        *(
            f"{title:<28} {seconds[way]['median']:>9.3f} {seconds[way]['minimum']:>8.3f} "
            f"{seconds[way]['maximum']:>8.3f} {positions / seconds[way]['median']:>12,.0f} "
            f"{seconds[way]['median'] / product_seconds:>14.2f}"
            for way, title in (
                ("bare_sql", "bare set-based SQL (floor)"),
                ("product", "position_sync"),
                ("product_with_costs", "position_sync, with costs"),
                ("careful_orm", "ORM, only what differs"),
                ("naive_orm", "ORM, row by row (naive)"),
            )
        ),
        "",
        _goal_line(
            "times faster than naive", ratios["naive_orm_to_product"], at_least=FASTER_THAN_NAIVE_GOAL
        ),
        _goal_line(
            "times slower than the floor", ratios["product_to_bare_sql"], at_most=SLOWER_THAN_BARE_GOAL
        ),
        _goal_line(
            "what comparing a desk book adds to a sync with costs, as a share of it",
            figures["desk_book"]["share_of_sync"],
            at_most=DESK_BOOK_SHARE_GOAL,
        ),
        "",
        f"a pass in which nothing changed, {unchanged['accounts']:,} accounts, {unchanged['seconds']:.2f} s:",
        f"{unchanged['api_calls_per_account']:>12g}  calls to Kraken per account",
        f"{whole['positions_entries_events']:>12,}  log bytes of {', '.join(UNTOUCHED)}",
        f"{unchanged['wal_bytes_of_compare']['total']:>12,}  log bytes of the comparison, all tables",
        f"{whole['total']:>12,}  log bytes of the whole pass, its run rows included",
    ]
    return "\n".join(lines)


def _goal_line(
    what: str, ratio: dict[str, Any], *, at_least: float | None = None, at_most: float | None = None
) -> str:
    goal = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    met = ratio["median"] >= at_least if at_least is not None else ratio["median"] <= (at_most or 0)
    spread = f"{ratio['minimum']:.2f} to {ratio['maximum']:.2f}"
    return f"{what}: {ratio['median']:.2f} ({spread}); goal {goal}: {'met' if met else 'MISSED'}"


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    """Measure, print the table, and keep the figures of a full run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, default="full")
    parser.add_argument("--rounds", type=int, default=2, help="rounds; the naive loop runs once in each")
    parser.add_argument("--pairs", type=int, default=4, help="times product and bare SQL run per round")
    parser.add_argument(
        "--server", metavar="URL", help="a superuser's URL; default: a durable server of its own"
    )
    parser.add_argument("--output", type=Path, help=f"default for the full scale: {OUTPUT.name} in results/")
    options = parser.parse_args()
    with running_server(options.server) as server_url:
        figures = measure(server_url, SCALES[options.scale], rounds=options.rounds, pairs=options.pairs)
    _say("\n" + table(figures))
    output = options.output or (OUTPUT if options.scale == "full" else None)
    if output:
        keep(figures, output)


if __name__ == "__main__":
    main()
