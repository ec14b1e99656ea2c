"""Run every pair through its schedules, and take every kind of lock away once; write the page."""

from __future__ import annotations

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from benchmarks.figures import RESULTS, ROOT, keep, surroundings
from benchmarks.races.desk_pairs import DESK_PAIRS
from benchmarks.races.exploring import choices_of
from benchmarks.races.figures import Bounds, HuntFigures, PairFigures
from benchmarks.races.order_pairs import ORDER_PAIRS
from benchmarks.races.page import page
from benchmarks.races.pairs import PAIRS as BOOK_PAIRS
from benchmarks.races.race import LETTERS, Race
from benchmarks.races.sabotage import TAKEN_AWAY
from benchmarks.servers import with_database
from desks.logins import make_logins
from desks.memory import place_in_memory
from kraken_recon.database.migrate import migrate
from kraken_recon.database.unit_of_work import create_engine
from local_stack.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.races.exploring import Schedule
    from benchmarks.races.pairs import Pair
    from benchmarks.races.sabotage import TakenAway

PAGE: Final = ROOT / "docs" / "reference" / "race-schedules.md"
OUTPUT: Final = RESULTS / "races.json"
PAIRS: Final = {pair.name: pair for pair in (*BOOK_PAIRS, *DESK_PAIRS, *ORDER_PAIRS)}
SEED: Final = 1
HUNT_MAX: Final = 200
PROCESSES: Final = 2
SERVER_BYTES: Final = 2**30
# What the server does by itself would come between steps; nothing here outlives the server.
SERVER_SETTINGS: Final = {"autovacuum": "off", "synchronous_commit": "off", "max_wal_size": "256MB"}
TEMPLATE: Final = "recon_races"


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a server of our own, in memory."""
    with tempfile.TemporaryDirectory(
        prefix="kraken-recon-races-", dir=place_in_memory(SERVER_BYTES), ignore_cleanup_errors=True
    ) as place:
        Path(place).chmod(0o711)
        with EmbeddedPostgres(Path(place) / "postgres", settings=SERVER_SETTINGS) as running:
            yield running.url("postgres")


def make_template(server_url: str) -> None:
    """Make the database that every pair's is copied from."""
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(f"create database {TEMPLATE}")
        migrate(create_engine(with_database(server_url, TEMPLATE)))
        make_logins(administrator)


@contextmanager
def prepared(server_url: str, pair: Pair, purpose: str) -> Iterator[Race]:
    """Yield a pair on a database of its own."""
    name = sql.Identifier(f"races_{pair.name}_{purpose}")
    with psycopg.connect(server_url, autocommit=True) as administrator:
        administrator.execute(
            sql.SQL("create database {} template {}").format(name, sql.Identifier(TEMPLATE))
        )
    with Race.prepared(pair, with_database(server_url, name.as_string().strip('"'))) as race:
        yield race


def explore(race: Race, seed: int, bounds: Bounds) -> PairFigures:
    """Run a pair's schedules within bounds, and then some with more preemptions."""
    figures = PairFigures(race.pair.name, serial=len(race.serial))
    explorer, started = race.explorer(bounds.preemptions, seed), time.monotonic()
    orders: set[str] = set()
    states: set[str] = set()

    def count(schedule: Schedule) -> None:
        figures.waits += sum(actor.waits for actor in race.stage.turns.actors.values())
        figures.same += schedule.is_redundant or schedule.order in orders
        orders.add(schedule.order)
        states.update(schedule.states)
        figures.steps = figures.steps or tuple(
            schedule.choices.count(LETTERS[n]) for n in range(len(race.pair.roles))
        )
        for wrong in race.look():
            figures.wrongs.setdefault(wrong, []).append(schedule.code)

    for schedule in islice(explorer.schedules(), bounds.schedules_max):
        of = figures.by_preemptions
        of[schedule.preemptions] = of.get(schedule.preemptions, 0) + 1
        count(schedule)
        if time.monotonic() - started > bounds.seconds_max:
            break
    figures.left = explorer.left
    for schedule in islice(explorer.sampled(bounds.sampled_preemptions), bounds.samples):
        figures.sampled += 1
        count(schedule)
    figures.orders, figures.states, figures.seconds = len(orders), len(states), time.monotonic() - started
    return figures


def hunt(race: Race, taken: TakenAway, seed: int) -> HuntFigures:
    """Take a lock away, and run schedules until one is wrong."""
    figures = HuntFigures(taken.per, taken.pair, taken.statement)
    race.stage.listener.altered = taken.alter
    for schedule in islice(race.explorer(1, seed).schedules(), HUNT_MAX):
        figures.schedules += 1
        if wrongs := race.look():
            figures.code, figures.wrong = schedule.code, wrongs[0]
            break
    return figures


def _explored(server_url: str, name: str, seed: int, preemptions: int) -> PairFigures:
    with prepared(server_url, PAIRS[name], "all") as race:
        return explore(race, seed, Bounds(preemptions))


def _hunted(server_url: str, place: int, seed: int) -> HuntFigures:
    taken = TAKEN_AWAY[place]
    with prepared(server_url, PAIRS[taken.pair], f"without_{place}") as race:
        return hunt(race, taken, seed)


def replay(server_url: str, pair: Pair, code: str, without: TakenAway | None) -> None:
    """Run one schedule by its code, and print its steps and what came of it."""
    with prepared(server_url, pair, "replay") as race:
        if without is not None:
            race.stage.listener.altered = without.alter
        schedule = race.explorer(0, SEED).replay(choices_of(code))
        for letter, step in schedule.steps:
            print(f"{letter}  {step.label}")
        if not schedule.code.startswith(code):
            print(
                f"{code} does not fit: somebody waits for a lock, or has ended. What was run: {schedule.code}"
            )
        wrongs = race.look()
    print("\n".join(wrongs) if wrongs else "nothing is wrong")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run pairs, or one schedule of one pair."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks races", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="of what is run where not all can be")
    parser.add_argument(
        "--pair", choices=PAIRS, action="append", help="only this one; the page stays as it is"
    )
    parser.add_argument(
        "--preemptions",
        type=int,
        default=Bounds().preemptions,
        help="how often somebody is stopped who could go on",
    )
    parser.add_argument(
        "--schedule", metavar="CODE", help="run this schedule of the pair, and print its steps"
    )
    parser.add_argument(
        "--without", choices=[one.per for one in TAKEN_AWAY], help="with that schedule: a lock to take away"
    )
    given = parser.parse_args(arguments)
    if given.schedule and len(given.pair or ()) != 1:
        parser.error("a schedule is of one pair: name it with --pair")
    with server() as server_url:
        make_template(server_url)
        if given.schedule:
            without = next((one for one in TAKEN_AWAY if one.per == given.without), None)
            replay(server_url, PAIRS[given.pair[0]], given.schedule, without)
            return
        pairs, hunts = _run_all(server_url, given.pair or list(PAIRS), given.seed, given.preemptions)
        where = surroundings(server_url)
    keep({**where, "pairs": [asdict(of) for of in pairs], "locks": [asdict(of) for of in hunts]}, OUTPUT)
    written = page(pairs, hunts, where, given.seed, PAIRS)
    if given.pair:
        print(written)
    else:
        PAGE.write_text(written, encoding="utf-8")
    if any(of.wrongs for of in pairs) or not all(of.code for of in hunts):
        raise SystemExit(1)


def _run_all(
    server_url: str, names: Sequence[str], seed: int, preemptions: int
) -> tuple[list[PairFigures], list[HuntFigures]]:
    """Run pairs side by side, each on a database of its own."""
    places = [place for place, one in enumerate(TAKEN_AWAY) if one.pair in names]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        hunts = [pool.submit(_hunted, server_url, place, seed) for place in places]
        pairs = [pool.submit(_explored, server_url, name, seed, preemptions) for name in names]
        return [of.result() for of in pairs], [of.result() for of in hunts]
