"""What people and programs read of desk books; amounts are text, exact and without an exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.desk_books.rules.records import RIGHTS
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from kraken_recon.desk_books.checking import BookCheck
    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.desk_books.rules.records import (
        Answer,
        BookJudgement,
        DeskProblem,
        Difference,
        OrderProblem,
    )


def diff_view(account: str, as_of: datetime | None, books: Iterable[BookJudgement]) -> dict[str, Any]:
    """Say how an account stands in every book that is about it, as of its newest proof."""
    return {
        "account": account,
        "as_of": as_of.isoformat() if as_of else None,
        "books": [book_view(book) for book in books],
    }


def book_view(judged: BookJudgement) -> dict[str, Any]:
    """Say how one account stands in one book."""
    return {
        "book": judged.book,
        "write_back": judged.write_back,
        "rows": judged.rows,
        "agreed": judged.agreed,
        "differences": [difference_view(one) for one in judged.differences],
        "orders": [_order_view(order) for order in judged.orders],
        "problems": problem_views(judged.problems),
    }


def difference_view(difference: Difference) -> dict[str, Any]:
    """Write one difference with all that explains it."""
    compared, explained = difference.compared, difference.explained
    return {
        "asset": compared.asset,
        "proven": format_amount(compared.proven),
        "desk": format_amount(compared.desk),
        "difference": format_amount(compared.difference),
        **_answer_view(explained.answer),
        "alternatives": [_answer_view(answer) for answer in explained.alternatives],
        "action": difference.action.value,
        "reason": difference.reason or explained.remark or None,
    }


def _answer_view(answer: Answer) -> dict[str, Any]:
    return {"explanation": answer.explanation.value, "ledger_ids": list(answer.ledger_ids)}


def _order_view(order: OrderProblem) -> dict[str, str]:
    return {"id": order.order_id, "problem": order.problem}


def problem_views(problems: Iterable[DeskProblem]) -> list[dict[str, str]]:
    """Write problems, each with where it is and what to do."""
    return [{"where": p.where, "what": p.what, "remedy": p.remedy} for p in problems]


def check_view(check: BookCheck) -> dict[str, Any]:
    """Say what was seen of a book."""
    listed = problem_views(check.problems)
    return {
        "book": check.name,
        "ok": not listed,
        "problems": listed,
        "accounts": [
            {
                "account": account,
                "rows": rows,
                "assets": {asset: sorted(names) for asset, names in sorted(assets.items())},
            }
            for account, (rows, assets) in sorted(check.accounts.items())
        ],
        "rights": {right: check.rights.get(right, False) for right in RIGHTS},
        "notes": list(check.notes),
        "first_comparison": [
            diff_view(account, check.proven_at[account], [judged])
            for account, judged in sorted(check.judged.items())
        ],
    }


def list_view(declared: Iterable[DeclaredBook]) -> list[dict[str, Any]]:
    """List the books of a folder, those that cannot be used with the reasons."""
    return [
        {
            "book": one.name,
            "file": one.file.name,
            "connection": one.book.connection if one.book else None,
            "accounts": sorted(one.book.accounts.values) if one.book else [],
            "write_back": one.book.positions.write_back.value if one.book else None,
            "problems": problem_views(one.problems),
        }
        for one in declared
    ]
