"""Which orders explain a change of balances: exact, and equal to trying every set."""

from __future__ import annotations

from itertools import chain, combinations

from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.orders.rules.which_were_filled import (
    CANDIDATES_MAX,
    SETS_MAX,
    Ambiguous,
    Candidate,
    Impossible,
    TooMany,
    Unique,
    infer,
)

units = st.integers(min_value=-6, max_value=6)


@st.composite
def cases(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Candidate]]:
    assets = draw(st.integers(1, 3))
    vector = st.tuples(*[units] * assets)
    width = st.tuples(*[st.integers(0, 2)] * assets)
    candidates = []
    for number in range(draw(st.integers(0, 7))):
        low, spread = draw(vector), draw(width)
        high = tuple(a + b for a, b in zip(low, spread, strict=True))
        candidates.append(Candidate(f"o{number}", low, high))
    return draw(vector), candidates


def brute_force(change: tuple[int, ...], candidates: list[Candidate]) -> set[frozenset[str]]:
    sets = chain.from_iterable(combinations(candidates, n) for n in range(len(candidates) + 1))
    return {
        frozenset(c.name for c in chosen)
        for chosen in sets
        if all(
            sum(c.low[i] for c in chosen) <= wanted <= sum(c.high[i] for c in chosen)
            for i, wanted in enumerate(change)
        )
    }


@given(cases())
def test_the_answer_is_what_trying_every_set_finds(case: tuple[tuple[int, ...], list[Candidate]]) -> None:
    change, candidates = case
    expected = brute_force(change, candidates)
    answer = infer(change, candidates)
    match answer:
        case Unique(filled):
            assert expected == {filled}
        case Ambiguous(sets):
            assert expected == set(sets)
            assert len(sets) == len(expected) > 1
        case Impossible(residual):
            assert not expected
            assert residual == change
        case TooMany():
            assert len(expected) > SETS_MAX


def test_two_orders_of_the_same_size_are_told_apart_by_nothing() -> None:
    same = [Candidate(name, (5, -100), (5, -98)) for name in ("one", "other")]
    assert infer((5, -99), same) == Ambiguous((frozenset({"one"}), frozenset({"other"})))
    assert infer((10, -198), same) == Unique(frozenset({"one", "other"}))
    assert infer((0, 0), same) == Unique(frozenset())
    assert infer((5, -101), same) == Impossible((5, -101))


def test_thirty_orders_are_compared_and_more_are_told_as_too_many() -> None:
    powers = [Candidate(str(n), (3**n,), (3**n,)) for n in range(30)]
    wanted = sum(3**n for n in range(0, 30, 2))
    assert infer((wanted,), powers) == Unique(frozenset(str(n) for n in range(0, 30, 2)))
    crowd = [Candidate(str(n), (1,), (1,)) for n in range(CANDIDATES_MAX + 1)]
    assert isinstance(infer((1,), crowd), TooMany)
    twins = [Candidate(str(n), (1,), (1,)) for n in range(20)]
    assert isinstance(infer((10,), twins), TooMany)
