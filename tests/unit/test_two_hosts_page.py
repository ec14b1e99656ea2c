"""What the page of two hosts says of a run: what went wrong stands first, and is not softened."""

from __future__ import annotations

from typing import Any

from benchmarks.two_hosts.page import written

AROUND = {
    "date": "2026-11-30T12:00:00+00:00",
    "machine": {"cores": 2, "processor": "a processor", "load_average_at_start": 0.5},
    "server": {"server_version": "18.6"},
    "seed": 1,
}
PART = {"tasks": {"worker-a": 3}, "runs": 5, "runs_on_both": 2, "calls": 40, "refused": {}, "wrong": []}
ROW = {
    **PART,
    "does": "`host-a` is cut off",
    "seconds": 41.2,
    "seen": ["alert `x`"],
    "left": [],
    "remedy": "",
}


def page(row: dict[str, Any]) -> str:
    return written({**AROUND, "together": {**PART, "seconds": 60}, "rows": [{**ROW, **row}]}, 60, "pro")


def test_the_page_says_what_came_of_a_host_that_was_cut_off() -> None:
    good = page({})
    assert "Nothing was lost or doubled; everything was proven again by itself" in good
    assert "2 of 5 runs reconciled some accounts on one and some on the other" in good
    assert "| `host-a` is cut off | 41 s | nothing | `worker-a` 3 | alert `x` |" in good
    bad = page(
        {"wrong": ["desk-1: 2 entries lost"], "left": ["desk-1"], "refused": {"EAPI:Invalid nonce": 7}}
    )
    assert "**desk-1: 2 entries lost; not by itself: `host-a` is cut off.**" in bad
    assert "7 as `EAPI:Invalid nonce`" in bad
    assert "**not**: desk-1" in bad
