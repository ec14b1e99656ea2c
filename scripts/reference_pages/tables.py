"""The page about every table of the trading database, from its schema."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from kraken_recon.database import migrations
from reference_pages.markdown import code, page, table


@dataclass
class _Table:
    name: str
    meaning: str
    columns: list[tuple[str, str]] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    meanings: dict[str, str] = field(default_factory=dict)


def tables() -> str:
    """Write the page."""
    folder = Path(migrations.__file__).parent
    files = sorted(folder.glob("schema*.sql"))
    found = _read("\n".join(path.read_text(encoding="utf-8") for path in files))
    return page(
        "Tables of the trading database",
        "Schema `trading`. Read them as you like; write only what a page or runbook tells you to. "
        "Quantities are "
        "`NUMERIC(38,18)` and never NaN, times have a time zone. A name in the type column is the table "
        "referred to.",
        table(("table", "one row is"), ((f"[`{t.name}`](#{t.name})", t.meaning) for t in found)),
        *map(_section, found),
    )


def _read(schema: str) -> list[_Table]:
    """Read the tables of the schema's files: a line for each column, a name for each constraint."""
    shared = dict(re.findall(r"^      \('(\w+)', '((?:[^']|'')*)'\)", schema, re.MULTILINE))
    meanings = dict(
        re.findall(r"^comment on \w+ trading\.([\w.]+) is '((?:[^']|'')*)';", schema, re.MULTILINE)
    )
    found = []
    bodies = re.findall(r"(?ms)^create table trading\.(\w+) \(\n(.*?)\n\)", schema)
    for name, body in bodies:
        one = _Table(name, _plain(meanings[name]))
        for line in re.split(r",\n(?=  \S)", body):
            first, rest = " ".join(line.split()).split(" ", 1)
            if first == "constraint":
                one.constraints.append(rest.split(" ", 1)[1])
            else:
                one.columns.append((first, rest))
                one.meanings[first] = _plain(meanings.get(f"{name}.{first}") or shared[first])
        found.append(one)
    return sorted(found, key=lambda one: one.name)


def _plain(quoted: str) -> str:
    return quoted.replace("''", "'")


def _listed(constraint: str) -> list[str]:
    return [name.strip() for name in constraint.partition("(")[2].partition(")")[0].split(",")]


def _section(one: _Table) -> str:
    keys = next(_listed(text) for text in one.constraints if text.startswith("primary key"))
    rows = (
        (
            code(name),
            _kind(one, name, definition),
            "yes" if "not null" in definition or "as identity" in definition or name in keys else "",
            _note(one, name),
        )
        for name, definition in one.columns
    )
    unique = "".join(
        f" Unique: {', '.join(map(code, _listed(text)))}."
        for text in one.constraints
        if text.startswith("unique")
    )
    return f"## {one.name}\n\n{one.meaning} Key: {', '.join(map(code, keys))}.{unique}\n\n" + table(
        ("column", "type", "required", "meaning"), rows
    )


def _kind(one: _Table, name: str, definition: str) -> str:
    kind = re.split(r" (?:default|not null|generated|collate) ?", definition)[0]
    kind = kind.replace("timestamptz", "time").replace("numeric(38,18)", "quantity")
    targets = sorted(
        re.findall(r"references trading\.(\w+)", text)[0]
        for text in one.constraints
        if text.startswith("foreign key") and name in _listed(text)
    )
    return kind + "".join(f" → [`{target}`](#{target})" for target in targets)


def _note(one: _Table, name: str) -> str:
    allowed = [
        re.findall(r"'([^']*)'", text)
        for text in one.constraints
        if re.match(rf"check \({name} in \([^)]*\)\)$", text)
    ]
    listed = f"One of {', '.join(map(code, allowed[0]))}." if allowed else ""
    return f"{one.meanings[name]} {listed}".strip()
