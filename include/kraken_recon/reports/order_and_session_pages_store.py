"""What the pages on orders and sessions read; statements in ``order_and_session_pages.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.database.store import Store, named_queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    # The time and the number of the last row of the page before.
    Key = tuple[datetime, int]


class OrderAndSessionPagesStore(Store):
    """What the pages read over one connection, beyond the views that the command line shares."""

    queries = named_queries(__file__, "order_and_session_pages")

    def rates_over_time(
        self, since: datetime, *, window_seconds: int, account: str | None = None
    ) -> list[dict[str, Any]]:
        """Count the verdicts of all accounts or of one in each window of one length, oldest first."""
        return self._rows("rates_over_time", since=since, window_seconds=window_seconds, account=account)

    def count_mismatches(self, since: datetime, *, account: str | None = None) -> int:
        """Count the orders of all accounts or of one that did not do what they say."""
        [row] = self._rows("count_mismatches", since=since, account=account)
        return int(row["mismatches"])

    def mismatches(  # noqa: PLR0913 - filters, by name
        self,
        since: datetime,
        *,
        account: str | None = None,
        level: str | None = None,
        pair: str | None = None,
        before: Key | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read the orders that did not do what they say, newest first, each with its failed levels."""
        return self._rows(
            "mismatches", since=since, account=account, level=level, pair=pair, **_key(before), most=most
        )

    def count_refused(self, since: datetime, *, account: str | None = None) -> int:
        """Count the decisions and orders of all accounts or of one that were refused."""
        [row] = self._rows("count_refused", since=since, account=account)
        return int(row["refused"])

    def decided(  # noqa: PLR0913 - filters, by name
        self,
        since: datetime,
        *,
        account: str | None = None,
        state: str | None = None,
        source: str | None = None,
        verdict: str | None = None,
        before: Key | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read orders, and decisions that became none, newest first; ``at`` and ``place`` are their key."""
        filters = {"account": account, "state": state, "source": source, "verdict": verdict}
        return self._rows("decided", since=since, **filters, **_key(before), most=most)

    def decision_of_key(self, key: str) -> Mapping[str, Any] | None:
        """Read what a decision's key stands for; None where nothing came under it."""
        rows = self._rows("decision_of_key", key=key)
        return rows[0] if rows else None

    def slippages(
        self,
        since: datetime,
        *,
        edges: Sequence[Decimal],
        account: str | None = None,
        most: int,
        rows_most: int | None = None,
    ) -> list[dict[str, Any]]:
        """Read by how many basis points the ``most`` newest prices were worse than expected, the worst first.

        A row is either of all accounts, by side and the place of the slippage between ``edges``, or of one
        account and side; the other's columns are None. The former are never cut off by ``rows_most``, if it
        leaves room for two for each place.
        """
        return self._rows(
            "slippages", since=since, edges=list(edges), account=account, most=most, rows_most=rows_most
        )

    def samples_over_time(self, since: datetime, *, stretch_seconds: int) -> list[dict[str, Any]]:
        """Read the largest counts of each stretch of time, by source, oldest first."""
        return self._rows("samples_over_time", since=since, stretch_seconds=stretch_seconds)

    def samples(self, since: datetime, *, before: Key | None = None, most: int) -> list[dict[str, Any]]:
        """Read samples of all sources, newest first."""
        return self._rows("samples", since=since, **_key(before), most=most)

    def newest_samples(self, since: datetime) -> list[dict[str, Any]]:
        """Read the newest sample of each source."""
        return self._rows("newest_samples", since=since)

    def count_findings(self) -> dict[str, int]:
        """Count the findings that have not returned by severity."""
        return {row["severity"]: row["findings"] for row in self._rows("count_findings")}

    def findings(
        self,
        *,
        state: str | None = None,
        rule: str | None = None,
        before: Key | None = None,
        most: int,
    ) -> list[dict[str, Any]]:
        """Read findings, the last seen first; ``state`` is open, returned or acted."""
        return self._rows("findings", state=state, rule=rule, **_key(before), most=most)


def _key(before: Key | None) -> dict[str, object]:
    moment, number = before or (None, None)
    return {"before_at": moment, "before_id": number}
