"""Write the case of a held plan for the person who decides, as Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from kraken_recon.holdings.pricing import money_words
from kraken_recon.ledger.entries import HoldingKey
from kraken_recon.plain_text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

ROWS_SHOWN_MAX: Final = 50
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~$&-])")


def escaped(text: object) -> str:
    """Write text so that Markdown shows it as it is, on one line; control characters can be seen."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(str(text).split())))


def case_subject(case: Mapping[str, Any]) -> str:
    """Ask the question in one line, as plain text."""
    rows = case["rows"]
    what = f"{_named(rows[0], case)} by {rows[0]['change']}" if len(rows) == 1 else f"{len(rows)} positions"
    where = f" in the desk's book {case['book']}" if case["book"] else ""
    return visible(f"Set {what}{where} on {' '.join(case['account'].split())}?")


def case_markdown(case: Mapping[str, Any], pages: str) -> str:
    """Say what is recorded, what Kraken reports or is proven, why it is asked, and what an approval writes.

    ``pages`` is the address of the dashboard, whose statements and differences are linked.
    """
    quote = escaped(case["quote_currency"])
    rows = case["rows"][:ROWS_SHOWN_MAX]
    found = urlencode({"account": case["account"], "run": case["run_id"], **_of_book(case)})
    sides = "desk | proven" if case["book"] else "recorded | Kraken"
    book = f", book **{escaped(case['book'])}** of the desk" if case["book"] else ""
    lines = [
        f"Account **{escaped(case['account'])}**{book}, as of {escaped(case['as_of'])}.",
        f"Held because {escaped(case['why'])}. Value of the drift: **{escaped(case['worth'])}**.",
        "",
        f"| asset | wallet | {sides} | drift | price, {quote} | value, {quote} | priced | since |",
        "|---|---|---:|---:|---:|---:|---:|---|---|",
        *(_line(row, case, pages) for row in rows),
        "",
        f"An asset leads to its statement; [what the run found]({pages}differences?{found}).",
        "",
        "**Explanation so far**",
        "",
        *(f"- {escaped(_named(row, case))}: {escaped(row['explanation'])}" for row in rows),
        "",
        "**What an approval writes**",
        "",
        *(
            f"- {escaped(_named(row, case))}: from {escaped(row['before'])} to "
            f"{escaped(row['after'])} ({escaped(row['change'])})"
            for row in rows
        ),
    ]
    if len(case["rows"]) > ROWS_SHOWN_MAX:
        lines.append(f"- and {len(case['rows']) - ROWS_SHOWN_MAX} more; see the plan")
    lines += [
        "",
        "The account is read again first; nothing is written if the drift is no longer the same.",
        "Rejecting writes nothing, and nobody is asked again until the drift changes.",
        "",
        f"Plan `{case['plan_id']}`: `python -m kraken_recon plan show {case['plan_id']}`",
    ]
    return "\n".join(lines)


def _named(row: Mapping[str, Any], case: Mapping[str, Any]) -> str:
    return row["asset"] if case["book"] else str(HoldingKey(row["asset"], row["wallet"]))


def _of_book(case: Mapping[str, Any]) -> dict[str, str]:
    return {"book": case["book"]} if case["book"] else {}


def _line(row: Mapping[str, Any], case: Mapping[str, Any], pages: str) -> str:
    place = {"account": case["account"], "asset": row["asset"], "run": case["run_id"]}
    entries = urlencode({**place, **_of_book(case)})
    asset = f"[{escaped(row['asset'])}]({pages}statement?{entries})"
    seen = f"{row['seen_since']}, {row['confirmations']} readings" if row["seen_since"] else "not known"
    cells = (
        row["wallet"],
        row["recorded"],
        row["reported"],
        row["drift"],
        row["price"] or "not known",
        money_words(row["value"]) if row["value"] else "not known",
        row["priced_at"] or ("" if row["price"] else "not within 24 hours"),
        seen,
    )
    return f"| {asset} | {' | '.join(map(escaped, cells))} |"
