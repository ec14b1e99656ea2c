"""The rows of the matrix: every fault of the simulator, in the ways in which it can strike.

Invariant: every fault's name of the simulator is in a row; a test compares, so that no new one is forgotten.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from benchmarks.fault_matrix.auditing import spoiled_answers
from benchmarks.fault_matrix.fault import Fault
from benchmarks.fault_matrix.fields import altered
from benchmarks.fault_matrix.importing import spoiled_files
from benchmarks.fault_matrix.lines import spoiled
from kraken_sim.faults import named

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Longer than anybody here waits.
HANG_SECONDS: Final = 1.5
STRUCK: Final = {"account": "struck-{name}"}
NEIGHBOUR: Final = "neighbour-{name}"
#: What is tried besides all calls of an account at once: a public one, whose answer everybody shares.
PUBLIC: Final = ("AssetPairs",)
#: The ways in which a fault strikes that its options tell apart; the first ones are the simulator's own.
VARIANTS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "hang": ({"seconds": HANG_SECONDS},),
    "slow": ({"seconds": 0.2}, {"seconds": HANG_SECONDS}),
    "reset": ({}, {"seconds": 0.2}),
    "http_error": tuple({"status": status} for status in (403, 429, 502, 504, 520)),
    "accept_then_fail": (
        *({"appearance": appearance} for appearance in ("reset", "502", "520")),
        {"appearance": "timeout", "seconds": HANG_SECONDS},
        *({"appearance": "reset", "endpoint": endpoint} for endpoint in ("CancelOrder", "AmendOrder")),
    ),
    "fail_before_accept": (
        {"appearance": "reset"},
        {"appearance": "502"},
        {"appearance": "timeout", "seconds": HANG_SECONDS},
    ),
    "late_accept": (
        {"appearance": "reset", "after_seconds": 5},
        {"appearance": "reset", "after_seconds": 30},
        {"appearance": "504", "after_seconds": 5},
        {"appearance": "reset", "after_seconds": 5, "endpoint": "CancelOrder"},
    ),
    "api_error": (
        *(
            {"text": text}
            for text in (
                *(
                    "EService:Unavailable",
                    "EGeneral:Internal error",
                    "EAPI:Invalid key",
                    "EGeneral:Permission denied",
                ),
                *("EGeneral:Temporary lockout", "EOrder:Insufficient funds", "ENobody:Knows this", ""),
            )
        ),
        *(
            {"text": text, "executed": True, "endpoint": "AddOrder"}
            for text in ("EService:Unavailable", "EOrder:Rate limit exceeded")
        ),
    ),
    "throttled": ({"seconds": 5}, {"seconds": 5, "only_concurrent": True}),
    "huge_body": ({},),
    "compressed_bomb": tuple({"encoding": encoding} for encoding in ("gzip", "deflate", "br")),
    "trickle": ({}, {"seconds": 0.3}, {"part": "headers"}, {"part": "chunks"}),
    "wrong_content": (
        {"content_type": "text/html"},
        {"content_type": "application/octet-stream"},
        *({"charset": charset} for charset in ("utf-16", "utf-32", "utf-8-sig", "utf-7")),
    ),
    "redirect_elsewhere": (
        *({"status": status} for status in (301, 303, 307, 308)),
        {"status": 308, "to": "https://localhost:1/0/private"},
        {"status": 307, "to": "/_sim/landed"},
    ),
    "nan_amount": tuple({"value": value} for value in ("NaN", "Infinity", "1e5", "")),
    "partial_balances": ({}, {"assets": ["XXBT"]}, {"assets": ["ZUSD"]}),
    "count_drift": ({"by": 1}, {"by": -1}),
    "duplicate_row": ({}, {"page": 1}),
    "insert_between_pages": (
        {"rows": 1, "page": 1, "asset": "ZUSD"},
        {"rows": 3, "page": 1, "asset": "XXBT"},
    ),
    "missing_row": ({}, {"row": 0}, {"page": 1}),
    "empty_page_early": ({}, {"page": 1}),
    "missing_page": ({}, {"page": 1}),
    "lag": tuple({"view": view, "seconds": 60} for view in ("balance", "ledger", "trades", "orders")),
    "ledger_missing_leg": ({"leg": "base"}, {"leg": "quote"}),
    "ledger_wrong_account": ({"to_account": NEIGHBOUR},),
    "trade_wrong_account": ({"to_account": NEIGHBOUR},),
}
LIES: Final = {
    "EOrder:Rate limit exceeded executed=True": "Kraken documents that it executes nothing of what it "
    "refuses so; a refusal is believed, and the order is sent again. What it did all the same is found and "
    "told, each of them (`order_found_late`).",
}
#: Who meets what strikes one call alone; all others meet everything.
JOBS_OF: Final = dict.fromkeys(
    ("accept_then_fail", "fail_before_accept", "late_accept"), ("order_execution",)
)
#: What a client meets anywhere: these strike once, too, so that it is seen what passes by itself.
ANYWHERE: Final = (
    *(name for name in named.BEFORE if name != "fail_before_accept"),
    *named.AFTER,
    "hang",
    "slow",
    "reset_mid_answer",
)
PLANTED: Final = (*named.LEDGER_WRONGS, *named.TRADE_WRONGS)
PAGED: Final = named.PAGING


def simulated() -> Iterator[Fault]:
    """List the rows about the simulator's own faults."""
    for name in sorted(named.NAMES.difference(named.FIELDS)):
        for number, options in enumerate(VARIANTS.get(name, ({},))):
            lasting = Fault(
                called(name, options),
                name,
                {**STRUCK, **options},
                group_of(name),
                jobs=JOBS_OF.get(name, ()),
                planted=name in PLANTED,
                is_paged=name in PAGED,
                lie=next((why for what, why in LIES.items() if what in called(name, options)), ""),
            )
            yield lasting
            if name in ANYWHERE and number == 0:
                yield replace(lasting, name=f"{lasting.name}, once", options={**lasting.options, "count": 1})
                for endpoint in PUBLIC:
                    public = {**options, "endpoint": endpoint}
                    yield replace(lasting, name=called(name, public), options=public)


def called(name: str, options: dict[str, Any]) -> str:
    """Name a row by the fault and what tells it apart."""
    told = {option: value for option, value in options.items() if option != "to_account"}
    words = [str(",".join(value) if isinstance(value, list) else value) for value in told.values()]
    labelled = [
        f"{option}={word}"
        if not option.startswith(("appearance", "text", "view", "endpoint", "status", "value", "leg"))
        else word or "empty"
        for option, word in zip(told, words, strict=True)
    ]
    return " ".join([name, *labelled])


def group_of(name: str) -> str:
    """Say under which heading a fault stands."""
    groups = {
        "Before anything happens": named.BEFORE,
        "The whole answer": named.AFTER,
        "Its bytes": named.BYTES,
        "What an answer says": named.CONTENT,
        "Pages of a history": named.PAGING,
        "A ledger that contradicts its trade": named.LEDGER_WRONGS,
        "A trade that contradicts its order": named.TRADE_WRONGS,
        "The way of a request": named.TRANSPORT,
    }
    return next((group for group, names in groups.items() if name in names), "Views out of date")


def all_faults() -> list[Fault]:
    """List every row."""
    return [*simulated(), *spoiled(), *spoiled_files(), *spoiled_answers(), *altered()]
