"""What people read of desk books on record: how accounts stood in each of them when it was last judged.

Amounts leave as text, exact and without an exponent.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.desk_books.view import problem_views
from kraken_recon.values.plain import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kraken_recon.desk_books.declared_here import DeclaredBooks
    from kraken_recon.reports.report_store import ReportStore

NOT_JUDGED: Final = "not judged"
AGREES: Final = "agrees"
COUNTS: Final = ("rows", "agreed", "waiting", "within_tolerance", "held", "differing")
RUN_FIELDS: Final = ("run_id", "read_at", "as_of")
DIFFERENCE_FIELDS: Final = (
    *("asset", "is_cash", "proven", "desk", "difference", "explanation", "ledger_ids", "alternatives"),
    *("action", "write_state", "reason"),
)


def with_desk_books(report: dict[str, Any], reports: ReportStore, declared: DeclaredBooks) -> dict[str, Any]:
    """Add to each account of a report how it stands in its desk books."""
    names = [account["account"] for account in report["accounts"]]
    views = desk_views(reports, declared, names)
    for account in report["accounts"]:
        account["desk_books"] = views.get(account["account"], [])
    return report


def desk_side_of(
    reports: ReportStore, declared: DeclaredBooks, account: str, asset: str
) -> list[dict[str, Any]]:
    """Write what each desk book of an account said of one asset when it was last judged."""
    views = desk_views(reports, declared, [account], asset).get(account, [])
    return [{name: value for name, value in view.items() if name not in COUNTS} for view in views]


def desk_views(
    reports: ReportStore, declared: DeclaredBooks, names: Collection[str], asset: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Write by account what its desk books say, of one asset or of all; accounts without a book are left out.

    The ``status`` is ``agreed``, ``differs``, ``unreadable`` or ``not judged``; without ``is_fresh`` no proof
    that still holds has judged the book.
    """
    books = reports.desk_books(declared, names)
    differences = reports.desk_differences([(b["run_id"], b["book"]) for b in books if b["run_id"]], asset)
    by_judgement = defaultdict(list)
    for found in differences:
        by_judgement[found["run_id"], found["book"]].append(found)
    views = defaultdict(list)
    for book in books:
        own = by_judgement[book["run_id"], book["book"]]
        views[book["account"]].append(_book_view(book, own, declared))
    return views


def _book_view(
    book: Mapping[str, Any], differences: Sequence[Mapping[str, Any]], declared: DeclaredBooks
) -> dict[str, Any]:
    known = declared.books.get(book["book"])
    told = problem_views(declared.unusable.get(book["book"], ()))
    view: dict[str, Any] = plain(
        {
            "book": book["book"],
            "write_back": known.positions.write_back if known else None,
            "status": book["status"] or NOT_JUDGED,
            "is_fresh": book["is_fresh"],
            **{name: book[name] for name in RUN_FIELDS},
            **{name: book[name] or 0 for name in COUNTS},
            "differences": [{name: found[name] for name in DIFFERENCE_FIELDS} for found in differences],
            "problems": [*told, *(book["problems"] or ())],
        }
    )
    return view


def standing_words(books: Sequence[Mapping[str, Any]]) -> str:
    """Say in a few words how an account stands in its desk books, the worst first; empty without one."""
    totals = {name: sum(book[name] for book in books) for name in COUNTS}
    tolerated = totals["waiting"] + totals["within_tolerance"]
    held, differing = totals["held"], totals["differing"]
    differ = f"{differing} {'differs' if differing == 1 else 'differ'}"
    told = (
        (not books, ""),
        (any(book["status"] == "unreadable" for book in books), "cannot be judged"),
        (held, f"{held} held, {differ}" if differing else f"{held} held"),
        (differing, differ),
        (any(book["status"] == NOT_JUDGED for book in books), NOT_JUDGED),
        (not all(book["is_fresh"] for book in books), "judged too long ago"),
        (tolerated, f"agrees but for {tolerated} small or waiting"),
    )
    return next((words for applies, words in told if applies), AGREES)
