"""The page about every DAG and its parameters, from the DAGs themselves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.dag_processing.dagbag import DagBag

from reference_pages.markdown import code, page, table

if TYPE_CHECKING:
    from airflow.sdk import DAG

DOCUMENT: Final = re.compile(r"\[docs/([\w/-]+\.md)\]\([^)]*\)|`docs/([\w/-]+\.md)`")
DAGS: Final = Path(__file__).resolve().parents[2] / "dags"


def dags() -> str:
    """Write the page."""
    found = DagBag(str(DAGS)).dags
    return page(
        "DAGs and their parameters",
        "What each DAG does, when, and what its *Trigger* form offers. `POST /api/v2/dags/DAG/dagRuns` "
        "takes the same "
        "names in `conf`, and `airflow dags trigger DAG --conf '{...}'` too.",
        *(_section(found[name]) for name in sorted(found)),
    )


def _section(dag: DAG) -> str:
    said = DOCUMENT.sub(_link, dag.doc_md or "").strip().splitlines()
    title = said[0].lstrip("# ")
    facts = [line for line in said if line.startswith("| ") and not line.startswith("| | |")]
    rows = [
        ("Runs", _schedule(dag)),
        ("Tags", ", ".join(sorted(dag.tags))),
        *(tuple(cell.strip() for cell in line.strip("|").split("|")[:2]) for line in facts),
    ]
    parts = [
        f"## {dag.dag_id}",
        f"{title}. [Runbook](../runbooks/{dag.dag_id}.md).",
        table(("", ""), rows),
    ]
    if dag.params:
        parts.append(table(("parameter", "title", "values", "default", "meaning"), _parameters(dag)))
    return "\n\n".join(parts)


def _link(found: re.Match[str]) -> str:
    """Lead to the document itself, wherever the DAG's own description leads."""
    return f"[{found[1] or found[2]}](../{found[1] or found[2]})"


def _schedule(dag: DAG) -> str:
    given = dag.timetable
    within = getattr(given, "timetable", given)  # of a schedule that assets start, too
    expression = getattr(within, "expression", None)
    if expression is None:
        return "only when triggered"
    assets = [asset.name for asset in getattr(given.asset_condition, "objects", ())]
    also = f", and whenever the asset {', '.join(map(code, assets))} is updated" if assets else ""
    return f"{code(expression)}, UTC{also}"


def _parameters(dag: DAG) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name in dag.params:
        given = dag.params.get_param(name)
        schema = given.schema
        default = "" if schema.get("const") else _shown(given.value)
        rows.append((code(name), schema.get("title", ""), _values(schema), default, given.description or ""))
    return rows


def _shown(value: Any) -> str:  # noqa: ANN401 - whatever a parameter is preset to
    return (
        ""
        if value in ("", None) or not isinstance(value, (str, int, float, bool, list, dict))
        else f"`{value}`"
    )


def _values(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(code(value) if value else "empty" for value in schema["enum"])
    kinds = schema.get("type", "")
    kind = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    kind = kind.replace("null", "empty")
    if "minimum" in schema:
        kind += f", {schema['minimum']} to {schema['maximum']}"
    if "pattern" in schema:
        kind += f" like `{schema['pattern']}`"
    return kind
