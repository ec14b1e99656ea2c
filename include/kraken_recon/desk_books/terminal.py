"""What is said of desk books, as lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_recon.desk_books.rules.records import Explanation
from kraken_recon.desk_books.view import EXPLANATION_WORDS, action_words
from kraken_recon.values.shown_figures import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NOT_COMPARED: Final = (
    "no table of the desk's own is compared until a desk book is declared: docs/how-to/adopt-a-desk.md"
)
ENTRIES_SHOWN_MAX: Final = 5


def render_diff(view: Mapping[str, Any]) -> list[str]:
    """Write how an account stands in each book."""
    lines = [f"{view['account']}: as proved at {view['as_of']}"]
    for book in view["books"]:
        lines += ["", *_book(book)]
    return lines if view["books"] else [*lines, "", NOT_COMPARED]


def render_without_book(accounts: Sequence[str]) -> list[str]:
    """Say of which accounts no table of the desk's is compared."""
    more = len(accounts) - ENTRIES_SHOWN_MAX
    names = ", ".join(accounts[:ENTRIES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
    return [f"{names}: {NOT_COMPARED}"]


def render_on_record(book: Mapping[str, Any]) -> list[str]:
    """Write how an account stood in a book when it was last judged."""
    if book["read_at"] is None:
        return [f"{book['book']}: not judged yet", *_problems(book["problems"])]
    old = "" if book["is_fresh"] else ", too long ago"
    return [*_book(book), f"  judged at {book['read_at']}{old}, by the proof of {book['as_of']}"]


def _book(book: Mapping[str, Any]) -> Iterator[str]:
    rows, agreed = _counted(book["rows"], "row"), book["agreed"]
    counts = f"{rows}, {agreed} agree, {len(book['differences'])} differ"
    yield f"{book['book']}: {counts}; write_back {book['write_back'] or 'not known here'}"
    yield from render_differences(book["differences"])
    for order in book.get("orders", ()):
        yield f"  order {order['id']}: {order['problem']}: {order['detail']}"
    yield from _problems(book["problems"])


def render_differences(differences: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Write differences with what explains them."""
    if differences:
        lines = [("ASSET", "PROVEN", "DESK", "DIFFERENCE", "EXPLANATION", "ACTION")]
        lines += [
            (d["asset"], d["proven"], d["desk"], d["difference"], d["explanation"], d["action"])
            for d in differences
        ]
        yield from (f"  {line}" for line in table(lines, right=frozenset({1, 2, 3})))
        yield from (line for one in differences for line in _reasons(one))


def _reasons(difference: Mapping[str, Any]) -> Iterator[str]:
    """Say in words what the explanation means, what it rests on, and what else fits."""
    words = EXPLANATION_WORDS[Explanation(difference["explanation"])]
    action = action_words(difference["action"], difference.get("write_state"))
    reason = f" ({difference['reason']})" if difference["reason"] else ""
    yield f"  {difference['asset']}: {words}{_entries(difference['ledger_ids'])}; {action}{reason}"
    for other in difference["alternatives"]:
        yield f"      or {other['explanation']}{_entries(other['ledger_ids'])}"


def _entries(ledger_ids: Sequence[str]) -> str:
    if not ledger_ids:
        return ""
    more = len(ledger_ids) - ENTRIES_SHOWN_MAX
    return f": {', '.join(ledger_ids[:ENTRIES_SHOWN_MAX])}{f' and {more} more' if more > 0 else ''}"


def _problems(problems: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for problem in problems:
        yield f"  ! {problem['where']}: {problem['what']}"
        yield f"      {problem['remedy']}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def render_check(view: Mapping[str, Any]) -> list[str]:
    """Write what a declaration makes of the desk's rows, then what is wrong with it."""
    problems = view["problems"]
    lines = [f"{view['book']}: {'no problem' if view['ok'] else _counted(len(problems), 'problem')}"]
    if view["accounts"]:
        rows = [("ACCOUNT", "ROWS", "ASSETS")]
        rows += [(a["account"], str(a["rows"]), _understood(a["assets"])) for a in view["accounts"]]
        lines += [f"  {line}" for line in table(rows, right=frozenset({1}))]
    granted = [right for right, may in view["rights"].items() if may]
    lines.append(f"  the role may {', '.join(granted) or 'nothing that is known'}")
    lines += [f"  {note}" for note in view["notes"]]
    lines += _problems(problems)
    for account in view["first_comparison"]:
        lines += ["", f"{account['account']}, as proved at {account['as_of']}"]
        lines += [line for book in account["books"] for line in _book({**book, "problems": ()})]
    return lines


def _understood(assets: Mapping[str, Sequence[str]]) -> str:
    """Say how each name is understood, where it is not ours already."""
    return ", ".join(
        asset if list(names) == [asset] else f"{asset} ({', '.join(names)})"
        for asset, names in assets.items()
    )


def render_list(books: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write the books of a folder."""
    if not books:
        return [NOT_COMPARED]
    rows = [("BOOK", "FILE", "CONNECTION", "WRITE BACK", "ACCOUNTS")]
    rows += [
        (
            book["book"],
            book["file"],
            book["connection"] or "-",
            book["write_back"] or "-",
            "cannot be used" if book["connection"] is None else ", ".join(book["accounts"]) or "by a query",
        )
        for book in books
    ]
    lines = list(table(rows, right=frozenset()))
    return lines + [line for book in books for line in _problems(book["problems"])]
