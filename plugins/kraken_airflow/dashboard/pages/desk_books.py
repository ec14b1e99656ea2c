"""The desk's own books beside what is proven: what differs, and where each asset of an account stands."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends

from kraken_airflow.dashboard.access import Name, Render, open_unit
from kraken_airflow.dashboard.difference_filters import DeskFilters
from kraken_airflow.dashboard.downloads import add_downloads, every_row, filters_of
from kraken_airflow.dashboard.paging import read_page
from kraken_airflow.dashboard.tables import AMOUNT, JSON_ONLY, Column
from kraken_airflow.dashboard.verdicts import TrafficLight, desk_level
from kraken_recon.database.unit_of_work import UnitOfWork
from kraken_recon.desk_books.declaration import DeskBook
from kraken_recon.desk_books.declared_here import DeclaredBooks, declared_here
from kraken_recon.desk_books.rules.names import is_kept
from kraken_recon.desk_books.rules.records import Explanation
from kraken_recon.desk_books.view import EXPLANATION_WORDS, action_words
from kraken_recon.holdings.pricing import price_list
from kraken_recon.holdings.store import PriceStore
from kraken_recon.ledger.entries import TRADED
from kraken_recon.reports.desk_books import AGREES, NOT_JUDGED, desk_views
from kraken_recon.reports.page_store import WRITTEN, PageStore
from kraken_recon.reports.report_store import ReportStore
from kraken_recon.values.money import exact_arithmetic

DIFFERENCES_PER_READ: Final = 2_000
KEY: Final = {"found_at": datetime, "run_id": UUID, "book": str, "asset": str, "cash": int}
WHAT_AND_WHY: Final = Column(
    "What explains it and what was done, with ledger ids", "remark wide", label="What explains it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskDifference:
    """What a run found of an asset in a desk book, what explains it, and what that is worth now."""

    found_at: Annotated[datetime, Column("Found", "age")]
    account: Annotated[str, Column("Account")]
    book: Annotated[str, Column("Book")]
    asset: Annotated[str, Column("Asset")]
    proven: Annotated[Decimal, Column("Proven", AMOUNT)]
    desk: Annotated[Decimal, Column("Desk", AMOUNT)]
    difference: Annotated[Decimal, Column("Difference", f"{AMOUNT} zero")]
    difference_value: Annotated[Decimal | None, Column("Its value now", "priced")] = None
    quote_currency: str
    price: Decimal | None = None
    priced_at: datetime | None = None
    explanation: str
    meaning: Annotated[str, WHAT_AND_WHY]
    ledger_ids: list[str]
    alternatives: list[dict[str, Any]]
    action: str
    write_state: str | None
    done: str
    reason: str | None
    run_id: UUID
    mode: str
    trigger: str
    dag_id: str | None
    dag_run_id: str | None
    cash: Annotated[int, JSON_ONLY]
    level: Annotated[TrafficLight, JSON_ONLY]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What Kraken, our record and a desk book say of one asset.

    ``desk`` is empty where it agrees at the desk's precision, and where nobody knows.
    """

    asset: Annotated[str, Column("Asset")]
    kraken: Annotated[Decimal | None, Column("Kraken", AMOUNT)]
    proven: Annotated[Decimal, Column("Proven", AMOUNT)]
    book: Annotated[str, Column("Desk book", "age")]
    desk: Annotated[Decimal | None, Column("Desk", AMOUNT)] = None
    difference: Annotated[Decimal | None, Column("Difference", AMOUNT)] = None
    done: Annotated[str, Column("State", "remark wide")]
    explanation: str | None = None
    meaning: str | None = None
    ledger_ids: list[str] | None = None
    reason: str | None = None
    judged_at: Annotated[datetime | None, Column("Judged", "age")]
    run_id: UUID | None
    level: Annotated[TrafficLight, JSON_ONLY]


Chosen = Annotated[DeskFilters, Depends()]


def add_routes(router: APIRouter, _render: Render) -> None:
    """Add the downloads; the rows stand on the pages of differences and of an account."""
    add_downloads(router, "desk_differences", _all, DeskDifference, head=filters_of(DeskFilters))
    add_downloads(router, "sides", _sides_now, Side, head=_named)


def differences_page(
    unit: UnitOfWork, chosen: DeskFilters, before: str, most: int
) -> tuple[list[DeskDifference], str | None]:
    """Read a page of what differed in desk books, what was found last first, with its value now."""
    shown, cursor = read_page(
        unit,
        "desk_books.differences",
        _difference,
        key=KEY,
        cursor=before,
        most=most,
        account_id=PageStore(unit).account(chosen.account).account_id if chosen.account else None,
        book=chosen.book,
        asset=chosen.asset,
        action=chosen.action,
        is_explained={"explained": True, "unexplained": False, "now": False}.get(chosen.kind),
        is_newest=chosen.kind == "now",
        run_id=chosen.run,
        since=chosen.since,
        until=chosen.until,
    )
    return _priced(unit, shown), cursor


def books_on_record(unit: UnitOfWork) -> list[str]:
    """Name the desk books that anything ever differed in."""
    return PageStore(unit).rows("desk_books.books", lambda book: book)


def _difference(**row: Any) -> DeskDifference:  # noqa: ANN401 - columns
    return DeskDifference(
        **row,
        meaning=EXPLANATION_WORDS[Explanation(row["explanation"])],
        done=action_words(row["action"], row["write_state"]),
        level=desk_level(row["action"], row["write_state"]),
    )


def _priced(unit: UnitOfWork, rows: list[DeskDifference]) -> list[DeskDifference]:
    pairs = [(row.quote_currency, row.asset) for row in rows]
    priced = price_list(PriceStore(unit), pairs, datetime.now(UTC))

    def valued(row: DeskDifference) -> DeskDifference:
        price, priced_at = priced.of(row.quote_currency, row.asset)
        value = priced.worth_of_changes(row.quote_currency, {row.asset: row.difference}).value
        return replace(row, difference_value=value, price=price, priced_at=priced_at)

    return [valued(row) for row in rows]


def _all(chosen: Chosen) -> Iterator[DeskDifference]:
    return every_row(lambda unit, cursor: differences_page(unit, chosen, cursor, DIFFERENCES_PER_READ))


def sides_of(
    unit: UnitOfWork, name: str, views: Sequence[Mapping[str, Any]], declared: DeclaredBooks
) -> list[Side]:
    """Put what Kraken, our record and each desk book of an account say of each asset side by side."""
    store = PageStore(unit)
    account_id = store.account(name).account_id
    rows = store.rows(
        "desk_books.sides", dict[str, Any], account_id=account_id, traded=sorted(TRADED), written=WRITTEN
    )
    return sorted(
        (side for view in views for side in _in_book(view, rows, declared.books.get(view["book"]))),
        key=lambda side: (side.asset, side.book),
    )


def _in_book(
    view: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], book: DeskBook | None
) -> Iterator[Side]:
    """Say what a book says of each asset; of those that agree only where it is known that it keeps them."""
    is_spot_only = book is not None and book.positions.wallets == "spot"
    sides = {row["asset"]: _of_wallets(row, is_spot_only=is_spot_only) for row in rows}
    of_view = {
        "book": view["book"],
        "judged_at": datetime.fromisoformat(view["read_at"]) if view["read_at"] else None,
        "run_id": UUID(view["run_id"]) if view["run_id"] else None,
    }
    for found in view["differences"]:
        yield Side(
            asset=found["asset"],
            kraken=sides[found["asset"]][1] if found["asset"] in sides else None,
            proven=Decimal(found["proven"]),
            desk=Decimal(found["desk"]),
            difference=Decimal(found["difference"]),
            done=action_words(found["action"], found["write_state"]),
            explanation=found["explanation"],
            meaning=EXPLANATION_WORDS[Explanation(found["explanation"])],
            ledger_ids=found["ledger_ids"],
            reason=found["reason"],
            level=desk_level(found["action"], found["write_state"]),
            **of_view,
        )
    differing = {found["asset"] for found in view["differences"]}
    has_agreed = view["status"] not in {"unreadable", NOT_JUDGED} and view["is_fresh"]
    for asset, (proven, kraken) in sides.items():
        if book and asset not in differing and (proven or kraken) and _keeps(book, asset):
            yield Side(
                asset=asset,
                kraken=kraken,
                proven=proven,
                done=AGREES if has_agreed else NOT_JUDGED,
                level="good" if has_agreed else "watch",
                **of_view,
            )


@exact_arithmetic()
def _of_wallets(row: Mapping[str, Any], *, is_spot_only: bool) -> tuple[Decimal, Decimal | None]:
    """Say what is recorded and what Kraken has, in all wallets or in those that are traded from."""
    if not is_spot_only:
        return row["proven"], row["kraken"]
    return row["traded"], None if row["kraken"] is None else row["kraken"] - row["proven"] + row["traded"]


def _keeps(book: DeskBook, asset: str) -> bool:
    is_cash = book.cash is not None and book.cash.currency == asset
    return is_cash or is_kept(asset, book.positions.holds)


def _named(name: Name) -> dict[str, object]:
    return {"account": name}


def _sides_now(name: Name) -> list[Side]:
    declared = declared_here()
    with open_unit() as unit:
        views = desk_views(ReportStore(unit), declared, [PageStore(unit).account(name).name])
        return sides_of(unit, name, views.get(name, []), declared)
