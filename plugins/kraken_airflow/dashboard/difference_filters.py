"""Which differences are shown, of our books beside Kraken's and of the desk's beside ours.

This module has no postponed annotations: FastAPI must see the real ones.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from fastapi import HTTPException
from pydantic import BeforeValidator

from kraken_airflow.dashboard.access import Choice, Word, in_order, moment_of
from kraken_recon.desk_books.rules.records import DeskAction
from kraken_recon.reconciliation.rules.assess import Action

Kind = Literal["", "now", "explained", "unexplained"]
KINDS: Final = (
    ("", "all that was found"),
    ("now", "unexplained now"),
    ("unexplained", "not explained by the ledger"),
    ("explained", "explained by the ledger"),
)
ActionName = Literal[
    "",
    "applied",
    "update",
    "add",
    "remove",
    "within_tolerance",
    "awaiting_confirmation",
    "under_way",
    "moving",
    "held",
    "recorded",
    "waiting",
    "report",
    "insert",
]
_EVERY_ACTION: Final = dict.fromkeys([*map(str, Action), *map(str, DeskAction)])
ACTIONS: Final = (
    ("", "any action"),
    *((name, name.replace("_", " ")) for name in _EVERY_ACTION if name != DeskAction.NONE),
)


def run_of(text: str) -> UUID | None:
    """Read the id of a run.

    Raises:
        HTTPException: 422, it is none.
    """
    try:
        return UUID(text) if text else None
    except ValueError:
        raise HTTPException(422, "run: expected the id of a run") from None


RunId = Annotated[UUID | None, BeforeValidator(run_of)]


@dataclass(frozen=True, slots=True)
class Filters(Choice):
    """Which differences are shown."""

    account: Word = ""
    asset: Word = ""
    kind: Kind = ""
    action: ActionName = ""
    run: RunId = None
    since: Annotated[datetime | None, BeforeValidator(lambda text: moment_of(text, "since"))] = None
    until: Annotated[datetime | None, BeforeValidator(lambda text: moment_of(text, "until"))] = None

    def __post_init__(self) -> None:
        """Refuse a range that ends before it begins."""
        in_order(self.since, self.until)

    def as_query(self) -> dict[str, object]:
        """Name what is chosen, for links."""
        moments = {"since": _for_form(self.since), "until": _for_form(self.until)}
        return {**Choice.as_query(self), **moments}


@dataclass(frozen=True, slots=True)
class DeskFilters(Filters):
    """The same of desk books; one of them by its name leaves what is beside Kraken out."""

    book: Word = ""


def _for_form(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M") if moment else ""
