"""What is said once of runs: their counts beside the schema's columns, and which proof is the newest."""

from __future__ import annotations

import re
from pathlib import Path

import kraken_recon
from kraken_recon.database import migrations
from kraken_recon.reconciliation.rules.counts import COUNTS, TOLD, columns_of, figures_of, titles

CORE = Path(kraken_recon.__file__).parent
SCHEMA = Path(migrations.__file__).with_name("schema.sql")
# Columns of whole numbers that count something else than holdings.
OTHERS = {"entries_ingested", "api_calls"}


def test_schema_has_a_column_for_each_count() -> None:
    """A count without a column could not be written, and a column without a count would stay zero."""
    body = re.search(
        r"(?s)create table trading\.reconciliation_runs \((.*?)\n\);", SCHEMA.read_text(encoding="utf-8")
    )
    assert body
    columns = re.findall(r"^  (\w+) integer default 0 not null,$", body.group(1), re.MULTILINE)
    assert [column for column in columns if column not in OTHERS] == [count.name for count in COUNTS]


def test_no_query_lists_the_counts() -> None:
    """Where the counts are listed once more, a new one would be forgotten."""
    names = [count.name for count in COUNTS]
    lists = [
        f"{path.relative_to(CORE)}: {line.strip()}"
        for path in CORE.rglob("*.sql")
        if path != SCHEMA
        for line in path.read_text(encoding="utf-8").splitlines()
        if sum(bool(re.search(rf"\b{name}\b", line)) for name in names) > 2
    ]
    assert lists == []


def test_the_newest_proof_is_asked_of_one_view() -> None:
    """What a proof is, and which one is the newest, is said in the schema alone."""
    own = [
        f"{path.relative_to(CORE)}: {query.split()[0]}"
        for path in CORE.rglob("*.sql")
        if path != SCHEMA
        for query in path.read_text(encoding="utf-8").split("-- name: ")[1:]
        if re.search(r"and (\w+\.)?is_proof\n\s+order by (\w+\.)?(reported|recorded)_as_of desc", query)
    ]
    assert own == []


def test_columns_and_figures_sum_what_is_shown_as_one() -> None:
    """Three kinds of repair are one column, and what is not told is in no list of accounts."""
    run = {count.name: 2**place for place, count in enumerate(COUNTS)}
    repaired = run["updated"] + run["added"] + run["removed"]
    assert columns_of(run)["Repaired"] == figures_of(run)["repaired"] == repaired
    assert columns_of(run)["Agreed"] == figures_of(run)["matched"] == run["matched"]
    assert not {"updated", "added", "removed", "failed"} & figures_of(run).keys()
    assert sum(figures_of(run).values()) == sum(run[count.name] for count in TOLD)
    assert list(columns_of(run)) == [*titles(is_agreement=True), *titles(is_agreement=False)]
