"""The page about every error, from the tree of errors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from kraken_airflow.dag_parts.failures import may_pass
from kraken_recon.errors import KrakenReconError
from kraken_recon.kraken.error_codes import KNOWN
from reference_pages.markdown import code, page, table, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator


def errors() -> str:
    """Write the page."""
    rows = (
        (
            f"{'&nbsp;&nbsp;' * depth}{code(kind.__name__)}",
            (inspect.getdoc(kind) or "").splitlines()[0],
            "tries again" if may_pass(kind("")) else "fails at once",
            kind.remedy,
        )
        for depth, kind in _tree(KrakenReconError, 0)
    )
    return page(
        "Errors",
        "The first word of a failed task's last line, of `failed:` in a report and of what a command "
        "prints before it "
        "ends with status 1. A finding (a drift, a leak, an order that does not verify) is a row and "
        "never an error.",
        table(("error", "means", "the task", "what to do"), rows),
        "## What Kraken says",
        wrapped(
            "Each string of Kraken's, by the error that it becomes; details after it do not matter. Where an "
            "order's answer is an `ExchangeUnavailableError`, or a string that is not listed, its outcome is "
            "unknown and is looked up; after every other one nothing was executed. A read is repeated where "
            "the task would try again, and whatever was wrong with the answer's body. Text of Kraken's is "
            "kept as one line of some hundred characters, control characters shown as escapes."
        ),
        table(("error", "Kraken's strings"), _strings()),
    )


def _strings() -> Iterator[tuple[str, str]]:
    for kind, codes in KNOWN.items():
        yield code(kind.__name__), ", ".join(map(code, codes))


def _tree(kind: type[KrakenReconError], depth: int) -> Iterator[tuple[int, type[KrakenReconError]]]:
    yield depth, kind
    for below in kind.__subclasses__():
        yield from _tree(below, depth + 1)
