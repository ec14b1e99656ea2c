"""What people and programs read of desk books; amounts are text, exact and without an exponent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.desk_books.rules.records import RIGHTS, DeskAction, Explanation
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


EXPLANATION_WORDS: Final = {
    Explanation.BEHIND: "the newest entries are not there yet",
    Explanation.MISSED: "operations are missing",
    Explanation.DOUBLED: "an operation was counted twice",
    Explanation.FEE_LEFT_OUT: "fees were not subtracted",
    Explanation.WRONG_WAY: "an entry was booked with the opposite sign",
    Explanation.ROUNDED: "each entry was rounded to the desk's digits",
    Explanation.WALLET_LEFT_OUT: "what lies in staking or earn wallets is left out",
    Explanation.UNKNOWN_ROW: "the account never held it",
    Explanation.UNEXPLAINED: "nothing explains it",
}
ACTION_WORDS: Final = {
    DeskAction.NONE: "nothing to do",
    DeskAction.WAITING: "waits",
    DeskAction.WITHIN_TOLERANCE: "within tolerance, left alone",
    DeskAction.REPORT: "told, nothing is written",
    DeskAction.UPDATE: "to be updated",
    DeskAction.INSERT: "to be added",
    DeskAction.REMOVE: "to be removed",
    DeskAction.HELD: "a person decides",
}
WRITTEN_WORDS: Final = {
    DeskAction.UPDATE: "updated",
    DeskAction.INSERT: "added",
    DeskAction.REMOVE: "removed",
}
WRITE_STATE_WORDS: Final = {
    "writing": "is being written",
    "skipped": "not written: the row was no longer what was judged",
}


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


def action_words(action: str, write_state: str | None = None) -> str:
    """Say what is done about a difference, or what came of it where something was to be written."""
    done = DeskAction(action)
    if write_state == "written":
        return WRITTEN_WORDS[done]
    return WRITE_STATE_WORDS.get(write_state or "", ACTION_WORDS[done])


def _answer_view(answer: Answer) -> dict[str, Any]:
    return {"explanation": answer.explanation.value, "ledger_ids": list(answer.ledger_ids)}


def _order_view(order: OrderProblem) -> dict[str, str]:
    return {"id": order.order_id, "problem": order.problem, "detail": order.detail}


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
