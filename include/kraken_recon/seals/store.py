"""Seals in Postgres: the queries of ``seals.sql``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kraken_recon.database.named_sql import load
from kraken_recon.database.store import Store, named_queries
from kraken_recon.seals.rules import DIGEST_BYTES, Head, Seal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

BY_ID: Final = frozenset({"approvals", "repair_plans"})
TABLES: Final = (
    "desk_writes",
    "margin_position_events",
    "order_decisions",
    "order_events",
    "position_events",
    "repair_plan_rows",
    "repair_plans",
    "seals",
    "seals_due",
)
_NUMBER: Final = re.compile("[0-9]{1,18}")
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_QUERIES: Final = load(__file__, "seals")


class SealStore(Store):
    """The chain of seals, and the rows that it is about."""

    queries = named_queries(
        __file__,
        "seals",
        facts=_QUERIES["facts"].replace("{rows_of_plan}", _QUERIES["rows_of_plan"]),
        rows_of_plan=_QUERIES["rows_of_plan"],
    )

    def begin_snapshot(self) -> None:
        """See one state of the database from now on; must come before anything else of the transaction."""
        self._execute("snapshot")

    def lock_head(self) -> Head:
        """Keep others from adding to the chain until this transaction ends, and read its end."""
        self._execute("lock")
        return self.head()

    def head(self) -> Head:
        """Read the end of the chain."""
        rows = self._run("head")
        return Head(rows[0].seal_id, bytes(rows[0].digest)) if rows else Head()

    def now(self) -> datetime:
        """Read the database's clock."""
        return self._rows("now")[0]["now"]  # type: ignore[no-any-return]

    def take_due(self, *, most: int) -> list[tuple[str, str | None, list[str]]]:
        """Take what is to be sealed, about ``most`` rows: table, note, keys of rows."""
        return [(row.subject, row.note, list(row.keys)) for row in self._run("take_due", most=most)]

    def digests(self, subject: str, keys: Sequence[str]) -> dict[str, bytes]:
        """Hash what rows say; of those that are not there, or cannot be, nothing comes back."""
        query, form = ("digests_by_id", _ID) if subject in BY_ID else ("digests_by_number", _NUMBER)
        asked = [key for key in keys if form.fullmatch(key)]
        return {row.key: bytes(row.digest) for row in self._run(query, subject=subject, keys=asked)}

    def add(self, seal: Seal) -> None:
        """Add a link to the chain."""
        self._execute(
            "add_seal",
            seal_id=seal.seal_id,
            subject=seal.subject,
            keys=list(seal.digests),
            digests=b"".join(seal.digests.values()),
            sealed_at=seal.sealed_at,
            note=seal.note,
            previous=seal.previous,
            digest=seal.digest,
        )

    def after(self, seal_id: int) -> Seal | None:
        """Read the link that comes next after a place in the chain, if any."""
        for row in self._rows("seals_after", seal_id=seal_id):
            keys: list[str] = row.pop("keys")
            joined = bytes(row.pop("digests"))
            pieces = [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]
            # Where somebody took hashes away, none is left for the last keys.
            digests = {key: pieces[place] if place < len(pieces) else b"" for place, key in enumerate(keys)}
            return Seal(**row | {name: bytes(row[name]) for name in ("previous", "digest")}, digests=digests)
        return None

    def sealed_again(self) -> Mapping[tuple[str, str], int]:
        """Read which rows were sealed again, each with the last link that did."""
        return {(row.subject, row.key): row.seal_id for row in self._run("sealed_again")}

    def sealed_twice(self, *, most: int) -> list[tuple[int, str, str]]:
        """List rows that are sealed twice without a reason: link, table, key."""
        return [(row.seal_id, row.subject, row.key) for row in self._run("sealed_twice", most=most)]

    def never_sealed(self, *, most: int) -> list[tuple[str, str]]:
        """List rows that are neither sealed nor to be sealed: table, key."""
        return [(row.subject, row.key) for row in self._run("never_sealed", most=most)]

    def rows_due(self) -> int:
        """Count the rows that are to be sealed."""
        return int(self._rows("rows_due")[0]["rows"])

    def not_plain(self) -> list[str]:
        """Name covered tables that are none any more, or that hide rows."""
        return [row.name for row in self._run("not_plain", tables=list(TABLES))]

    def enlist(self, subject: str, keys: Sequence[str], note: str) -> None:
        """Note rows to be sealed again."""
        self._execute("enlist", subject=subject, keys=list(keys), note=note)
