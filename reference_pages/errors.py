"""The page about every error, from the tree of errors."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from kraken_airflow.failures import may_pass
from kraken_recon.errors import KrakenReconError
from reference_pages.markdown import code, page, table

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
    )


def _tree(kind: type[KrakenReconError], depth: int) -> Iterator[tuple[int, type[KrakenReconError]]]:
    yield depth, kind
    for below in kind.__subclasses__():
        yield from _tree(below, depth + 1)
