from __future__ import annotations

import gc
from threading import Barrier, Thread
from typing import TYPE_CHECKING

import pytest

from kraken_recon.ledger.chain import prove_chain
from kraken_recon.ledger.entries import SPOT, HoldingKey
from kraken_recon.values.cycle_search import no_cycle_search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kraken_recon.ledger.entries import LedgerEntry


def test_search_for_cycles_rests_in_a_block_and_goes_on_after_it() -> None:
    with no_cycle_search():
        with no_cycle_search():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_search_goes_on_after_an_error_in_a_function() -> None:
    with pytest.raises(ValueError, match="was none"):
        prove_chain(HoldingKey("BTC", SPOT), (), known_balance=None)
    assert gc.isenabled()


def test_search_goes_on_when_the_last_of_several_threads_is_done() -> None:
    both_are_in = Barrier(2)

    @no_cycle_search()
    def work() -> None:
        both_are_in.wait(timeout=10)

    threads = [Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


def test_chain_is_proved_without_a_search_for_cycles() -> None:
    seen = []

    def entries() -> Iterator[LedgerEntry]:
        seen.append(gc.isenabled())
        yield from ()

    with pytest.raises(ValueError, match="was none"):
        prove_chain(HoldingKey("BTC", SPOT), entries(), known_balance=None)
    assert seen == [False]
