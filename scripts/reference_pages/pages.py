"""Which page is written by what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from reference_pages.alerts import alerts
from reference_pages.attack_surface import attack_surface
from reference_pages.command_line import command_line
from reference_pages.dags import dags
from reference_pages.errors import errors
from reference_pages.ledger_entries import ledger_entries
from reference_pages.metrics import metrics
from reference_pages.settings import settings
from reference_pages.simulator import simulator_faults
from reference_pages.tables import tables
from session_lint.rules import document_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "alerts": alerts,
    "attack-surface": attack_surface,
    "command-line": command_line,
    "configuration": settings,
    "dags": dags,
    "errors": errors,
    "ledger-entries": ledger_entries,
    "metrics": metrics,
    "session-rules": document_rules,
    "simulator-faults": simulator_faults,
    "tables": tables,
}
