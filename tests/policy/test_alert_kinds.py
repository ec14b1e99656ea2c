"""Every kind of alert that the code raises has its section in the runbook of alerts."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from kraken_recon.domain.alerts import KIND_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs/runbooks/alerts.md"
# What the text constants that name a kind are called in the code.
NAMES = ("KIND", "ALERT", "ALERT_KIND")


def kinds_in(source: str) -> Iterator[str]:
    """Find the texts that are given as a kind: to ``Alert``, to ``kind``, to a constant ``..._ALERT``."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="Alert"), args=[ast.Constant(value=str() as kind), *_]):
                yield kind
            case ast.Assign(
                targets=[ast.Tuple(elts=[ast.Name(id="kind"), *_])],
                value=ast.Tuple(elts=[ast.Constant(value=str() as kind), *_]),
            ):
                yield kind
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str() as kind)):
                if name.endswith(NAMES) and not name.startswith(("RESULT", "ROW")):
                    yield kind


def kinds() -> set[str]:
    places = [*(ROOT / "include/kraken_recon").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    raising = [path.read_text() for path in places if "lert" in path.read_text()]
    return {kind for source in raising for kind in kinds_in(source)} | set(KIND_RULES)


def test_every_kind_has_its_section() -> None:
    sections = {line[3:].strip("` ") for line in RUNBOOK.read_text().splitlines() if line.startswith("## `")}
    assert kinds() - sections == set(), "write a section for each of these kinds in docs/runbooks/alerts.md"


def test_the_kinds_are_found() -> None:
    assert {
        "sync_failure",
        "held_repair",
        "margin_discrepancy",
        "unknown_entry_kind",
        "deadline_missed",
    } <= kinds()
