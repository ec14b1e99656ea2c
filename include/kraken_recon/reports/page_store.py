"""What the pages read: each page's named queries, and what more than one page or view needs of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from kraken_recon.database.store import Made, Store, named_queries
from kraken_recon.errors import NotOnRecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal
    from uuid import UUID

    from kraken_recon.desk_books.declared_here import DeclaredBooks

# What was written for leaves nothing outstanding.
WRITTEN: Final = ["applied", "update", "add", "remove", "recorded"]


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """What an account is."""

    account_id: int
    name: str
    quote_currency: str
    is_active: bool
    opened_at: datetime | None
    opening_source: str | None
    ledger_read_until: datetime | None
    freshness_limit_minutes: int


@dataclass(frozen=True, slots=True)
class CountedAccounts:
    """How many accounts have a rank and an age of their proof."""

    rank: int
    age_group: int
    accounts: int


@dataclass(frozen=True, slots=True)
class PlacedAccount:
    """An account in its place on a page."""

    name: str
    rank: int
    proven_at: str | None
    place: int


@dataclass(frozen=True, slots=True)
class AccountsPage:
    """All active accounts counted by ``rank`` and ``age_group``, and a page of them.

    ``differing_run_ids``: of each account's newest run that succeeded, where it may have left a difference;
    ``unproven_ids``: of the accounts with a rank of those that were named. ``without_desk_book`` counts the
    accounts that no desk book is about, ``tolerated`` the differences of desk books that wait or are small.
    """

    counts: list[CountedAccounts]
    accounts: list[PlacedAccount]
    differing_run_ids: list[UUID]
    unproven_ids: list[int]
    without_desk_book: int
    tolerated: int


@dataclass(frozen=True, slots=True)
class AssetDrift:
    """Drift of an asset that stands, in its units; ``total`` is of the absolute amounts, ``value`` theirs."""

    currency: str
    asset: str
    accounts: int
    net: Decimal
    total: Decimal
    value: Decimal | None = None


class PageStore(Store):
    """The queries of the pages, as ``<page>.<query>``."""

    queries: ClassVar = {
        f"{file.stem}.{name}": query
        for file in Path(__file__).parent.glob("pages/*.sql")
        for name, query in named_queries(str(file), file.stem).items()
    }

    def rows(self, query: str, make: Callable[..., Made], **filters: object) -> list[Made]:
        """Read the rows of a query, each made of its columns by their names.

        A filter that is None, or an empty text, lets everything pass.
        """
        return [make(**row) for row in self._rows(query, **_given(filters))]

    def count(self, query: str, **filters: object) -> int:
        """Read the one number that a query counts."""
        return self._value(int, query, **_given(filters))

    def standing(  # noqa: PLR0913 - each is a filter of the page
        self,
        now: datetime,
        ranks: Mapping[str, int],
        ages_seconds: Sequence[float],
        declared: DeclaredBooks,
        *,
        account: str | None = None,
        order_by: str = "worst",
        rank: int | None = None,
        age_group: int | None = None,
        part: str | None = None,
        after: tuple[int, str] | None = None,
        unproven: Collection[int] = (),
        most: int,
    ) -> AccountsPage:
        """Count active accounts by the rank of their facts and by age of their proof; read a page of them.

        Facts are a status and a digit each for: dry run, old proof, held, awaiting, findings of a dry run; of
        desk books, one that is unreadable, that holds a write-back, that differs, and that is not judged.
        """
        [standing] = self.rows(
            "accounts.standing",
            _standing,
            now=now,
            facts=list(ranks),
            ranks=list(ranks.values()),
            ages_seconds=list(ages_seconds),
            account=account,
            order_by=order_by,
            rank=rank,
            age_group=age_group,
            part=part,
            after_place=after[0] if after else None,
            after_name=after[1] if after else None,
            unproven_ranks=sorted(unproven),
            most=most,
            **declared.as_filter(),
        )
        return standing

    def outstanding_drift(self, run_ids: Collection[UUID]) -> list[AssetDrift]:
        """Sum what runs found that no entry explains and that was not written, by currency and asset."""
        return self.rows("accounts.outstanding_drift", AssetDrift, run_ids=list(run_ids), written=WRITTEN)

    def account(self, name: str) -> KnownAccount:
        """Read what an account is.

        Raises:
            NotOnRecordError: there is none.
        """
        rows = self.rows("account.account", KnownAccount, name=name)
        if not rows:
            raise NotOnRecordError(f"no account is named {name}")
        return rows[0]

    def alerts_waiting(self) -> dict[str, int]:
        """Count the alerts that nobody looks after yet, by kind."""
        return dict(self.rows("needs_you.alerts_waiting", lambda kind, alerts: (kind, alerts)))


def _given(filters: Mapping[str, object]) -> dict[str, object]:
    return {name: None if value == "" else value for name, value in filters.items()}


def _standing(counts: list[dict[str, Any]], accounts: list[dict[str, Any]], **of_all: Any) -> AccountsPage:  # noqa: ANN401 - columns
    return AccountsPage(
        [CountedAccounts(**row) for row in counts], [PlacedAccount(**row) for row in accounts], **of_all
    )
