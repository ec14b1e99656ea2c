"""Pages of a history: newest first, fifty at a time, cut by time or id.

Invariant: ``start`` is exclusive and ``end`` inclusive; an id cuts at its own row, which keeps rows
of one moment apart.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from kraken_sim.account import events
from kraken_sim.amounts import number
from kraken_sim.errors import ApiError
from kraken_sim.faults.named import PAGING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kraken_sim.endpoints.call import Call

PAGE_SIZE: Final = 50
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The rows of one answer and the total that goes with them."""

    rows: list[Row]
    count: int


def window(
    call: Call, keys: Sequence[tuple[Decimal, int]], position_of: Mapping[str, int], visible: int
) -> tuple[int, int]:
    """Translate ``start`` and ``end`` into a half-open range over rows that are sorted oldest first."""

    def cut(name: str, default: int) -> int:
        text = call.parameters.get(name, "")
        if not text:
            return default
        if text in position_of:
            return position_of[text] + 1
        try:
            return bisect_right(keys, (number(text), len(keys)))
        except ValueError as error:
            raise ApiError(f"EGeneral:Invalid arguments:{name}") from error

    return cut("start", 0), min(cut("end", visible), visible)


def disturb(call: Call) -> None:
    """Let something happen to the account between two pages, if that is asked for."""
    fault = call.exchange.faults.take(
        ("insert_between_pages",),
        call.account.name,
        call.endpoint,
        call.account.clock.now(),
        page=page_number(call),
    )
    if fault is None:
        return
    for _ in range(int(fault.options.get("rows", 1))):
        events.deposit(call.account, str(fault.options.get("asset", "ZUSD")), Decimal(1))


def page_number(call: Call) -> int:
    """Tell which page is asked for, from zero."""
    return offset(call) // PAGE_SIZE


def offset(call: Call) -> int:
    """Read ``ofs``."""
    text = call.parameters.get("ofs", "0")
    if not text.isdigit():
        raise ApiError("EGeneral:Invalid arguments:ofs")
    return int(text)


def cut(call: Call, rows: Sequence[Row]) -> Page[Row]:
    """Cut one page out of rows that are sorted oldest first, and let paging faults at it."""
    skipped, total = offset(call), len(rows)

    def newest_first(start: int) -> list[Row]:
        upper = total - start
        return list(rows[max(0, upper - PAGE_SIZE) : max(0, upper)])[::-1]

    names = tuple(name for name in PAGING if name != "insert_between_pages")
    fault = call.exchange.faults.take(
        names, call.account.name, call.endpoint, call.account.clock.now(), page=page_number(call)
    )
    page = newest_first(skipped)
    match fault.name if fault else "":
        case "empty_page_early":
            page = []
        case "missing_page":
            page = newest_first(skipped + PAGE_SIZE)
        case "duplicate_row" if 0 < skipped <= total:
            page.insert(0, rows[total - skipped])
        case "missing_row" if page:
            del page[min(int(fault.options.get("row", len(page) // 2)), len(page) - 1) if fault else 0]
        case "count_drift" if fault:
            total += int(fault.options.get("by", 1)) * fault.fired
    return Page(page, total)


def answer(
    call: Call, field: str, page: Page[Row], shape: Callable[[Row], tuple[str, dict[str, Any]]]
) -> dict[str, Any]:
    """Shape a page as Kraken does."""
    result: dict[str, Any] = {field: dict(map(shape, page.rows))}
    if not call.flag("without_count"):
        result["count"] = page.count
    return result
