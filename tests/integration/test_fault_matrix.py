"""The fault matrix, a cell of each class; the whole of it is `make fault-matrix`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.fault_matrix.cells import Cell, play
from benchmarks.fault_matrix.fault import Fault
from benchmarks.fault_matrix.fields import READ
from benchmarks.fault_matrix.jobs import JOBS
from benchmarks.fault_matrix.lane import SECRET, Lane
from benchmarks.fault_matrix.lines import CERTIFICATES, HOST, NOWHERE, Front, authority
from benchmarks.fault_matrix.measure import cells_of
from benchmarks.fault_matrix.page import shown
from benchmarks.fault_matrix.rows import all_faults
from benchmarks.servers import scratch_database

from kraken_recon.errors import ExchangeUnavailableError
from kraken_recon.kraken import parse_account
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.transport import KrakenTransport
from kraken_sim.faults.named import NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Simulator

SEED = 11
NOTHING = Fault("nothing", "warning", {"endpoint": "nowhere"})


@pytest.fixture
def lane(database_url: str, postgres_url: str, simulator: Simulator, tmp_path: Path) -> Iterator[Lane]:
    with scratch_database(postgres_url) as desk_url:
        made = Lane(database_url, desk_url, simulator.base_url, tmp_path)
        yield made
        made.close()


def test_every_fault_of_the_simulator_is_in_the_matrix() -> None:
    assert {fault.kind for fault in all_faults() if fault.where == "simulator"} == NAMES


def test_a_cell_is_named_once() -> None:
    names = [cell.name for cell in cells_of("", is_short=False, seed=SEED)]
    assert len(names) == len(set(names))


def test_one_cell_of_each_class_is_as_it_must_be(lane: Lane) -> None:
    drawn = cells_of("", is_short=True, seed=SEED)
    assert len(drawn) > 10
    outcomes = [play(cell, lane, SEED) for cell in drawn]
    assert {one.cell.name: one.defects for one in outcomes if one.defects} == {}


@pytest.mark.parametrize(
    "name",
    [
        "altered_field Ledgers result.ledger.*.amount huge/order_execution",
        "altered_field Ledgers result.ledger.*.fee swapped/order_execution",
        "altered_field QueryOrders result.*.vol_exec huge/order_execution",
        "altered_field QueryOrders result.*.vol_exec swapped/order_execution",
        "altered_field QueryOrders result.*.status swapped/order_execution",
    ],
)
def test_what_an_order_cannot_have_moved_is_not_recorded(lane: Lane, name: str) -> None:
    [cell] = cells_of(name, is_short=False, seed=SEED)
    outcome = play(cell, lane, SEED)
    assert outcome.struck
    assert outcome.told
    assert outcome.defects == []


@pytest.mark.parametrize(
    "fault",
    [
        *("html_200", "truncated_json", "empty_body", "empty_balances", "partial_balances", "nan_amount"),
        *("no_result", "redirect_302", "missing_row"),
    ],
)
def test_an_unusable_reply_empties_nothing_and_is_told(lane: Lane, fault: str) -> None:
    for cell in cells_of(f"{fault}/position_sync", is_short=False, seed=SEED):
        outcome = play(cell, lane, SEED)
        assert outcome.struck
        assert outcome.told
        assert (outcome.harmed, outcome.defects) == ((), [])


def test_without_a_fault_every_job_is_well_and_every_field_that_it_reads_is_in_the_matrix(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()

    class Watchful(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            read.add(key)
            return super().get(key, default)

    unique = parse_account._unique_keys  # noqa: SLF001 - what makes every map of an answer
    monkeypatch.setattr(parse_account, "_unique_keys", lambda pairs: Watchful(unique(pairs)))
    for job in JOBS:
        assert shown(play(Cell(NOTHING, job), lane, SEED)) == "-"
    # Of a line of credit, which no account of the simulator has.
    known = {"credit", "credit_used"} | {
        step for paths in READ.values() for path in paths for step in path.split(".")
    }
    assert read - known == set()


def test_a_defect_is_found(lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix would be of no use if it said the same of a product that loses and doubles."""
    scene = JOBS["position_sync"]
    honest = scene.run

    def lose(self: Any) -> set[str]:
        honest(self)
        self.lane.execute(
            "update trading.positions set quantity = quantity - 1 where account_id = %s and asset = 'BTC'",
            self.struck_id,
        )
        return set()

    monkeypatch.setattr(scene, "run", lose)
    outcome = play(Cell(NOTHING, "position_sync"), lane, SEED)
    assert any("its events come to" in wrong for wrong in outcome.wrong)
    assert outcome.untold
    assert outcome.recovered_after is None
    assert shown(outcome) == "**defect**"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("expired", "certificate has expired"),
        ("not_yet_valid", "not yet valid"),
        ("wrong_host", "not valid for '127.0.0.1'"),
        ("self_signed", "self-signed"),
        ("handshake_cut", "cut|no TLS"),
        ("not_tls", "no TLS"),
        ("closed", "cut|no TLS"),
        ("handshake_silent", "in time"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(kind: str, words: str) -> None:
    context = authority().context(kind) if kind in CERTIFICATES else None
    with Front(kind, 1, context) as front:
        assert_refused(f"https://{HOST}:{front.port}", words)


def test_a_name_that_leads_nowhere_and_a_port_where_nobody_listens_are_told_apart() -> None:
    assert_refused(f"https://{NOWHERE}", "DNS")
    with Front("closed", 1, None) as front:
        port = front.port
    assert_refused(f"http://{HOST}:{port}", "nothing listens there")


def assert_refused(url: str, words: str) -> None:
    """Nothing can be asked there, and the message says why, without a word of the key."""
    sender = KrakenTransport(
        KrakenCredentials("the-key", SECRET, url, "pro"), account="desk", timeout_seconds=(1.0, 0.3)
    )
    with pytest.raises(ExchangeUnavailableError, match=words) as refused:
        sender.send_private("Balance", {}, nonce=1)
    assert "the-key" not in str(refused.value)
    assert refused.value.__context__ is None


@pytest.mark.parametrize("part", ["headers", "chunks"])
def test_an_answer_that_drips_for_ever_is_given_up_in_time(lane: Lane, part: str) -> None:
    lane.fault("trickle", endpoint="Time", part=part, seconds=0.05)
    sender = KrakenTransport(
        KrakenCredentials("k", SECRET, lane.simulator_url, "pro"), account="desk", timeout_seconds=(0.5, 0.5)
    )
    begun = time.monotonic()
    with pytest.raises(ExchangeUnavailableError, match="in time"):
        sender.send_public("Time", {})
    assert time.monotonic() - begun < 5
