"""What is wrong with a running Airflow, as far as this project needs it."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from kraken_recon.alerts.silence_rules import Job
from kraken_recon.doctor.rules.diagnosis import not_checked, warning, well, wrong
from kraken_recon.settings import AIRFLOW_API, DESK_POOL, POOL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kraken_recon.doctor.rules.diagnosis import Diagnosis
    from kraken_recon.doctor.rules.readings import AirflowReading, PoolReading

DAGS: Final = (*(job.value for job in Job if job is not Job.WATCH), "repair_approval")
# Without these nothing is reconciled; the others are left paused by who does not use them.
_NEEDED_DAGS: Final = frozenset({Job.POSITION_SYNC.value})
_COMPONENTS: Final = {
    "metadatabase": "Airflow cannot read its own database: nothing runs.",
    "scheduler": "No task is started.",
    "dag_processor": "New and changed DAGs are not seen.",
    "triggerer": "Verification and approval do not wake up.",
}
_PLUGIN: Final = "kraken_recon"


def no_airflow() -> Diagnosis:
    """Say that nobody said how to ask an Airflow."""
    remedy = f"To have it looked at, set the connection {AIRFLOW_API.name}: docs/how-to/ask-the-doctor.md"
    return not_checked("airflow", "no Airflow here: no connection says where its REST API is", remedy)


def diagnose_airflow(reading: AirflowReading, *, has_desk_books: bool) -> Iterator[Diagnosis]:
    """Say how Airflow's parts, pools, DAGs and our plugin are."""
    if reading.trouble:
        yield wrong(
            "airflow",
            f"{reading.address} {reading.trouble}",
            "If it is down, no DAG runs; pages and approvals are gone.",
            f"See whether its API server runs, and what the connection {AIRFLOW_API.name} says.",
        )
        return
    silent = {name: told for name, told in reading.components.items() if told != "healthy"}
    for name, told in silent.items():
        meaning = _COMPONENTS.get(name, "A part of Airflow does not work.")
        yield wrong(f"airflow {name}", f"it is {told}", meaning, "Look at its log, and start it again.")
    if not silent:
        yield well("airflow", f"Airflow {reading.version} at {reading.address} is healthy")
    yield from _pools(reading, has_desk_books=has_desk_books)
    yield from _dags(reading)
    yield from _import_errors(reading)
    yield _plugin(reading)


def _may_not(check: str, right: str) -> Diagnosis:
    return not_checked(
        check, f"the user of {AIRFLOW_API.name} may not read {right}", "Give it the role Viewer."
    )


def _pools(reading: AirflowReading, *, has_desk_books: bool) -> Iterator[Diagnosis]:
    if reading.pools is None:
        yield _may_not("pools", "pools")
        return
    for name, slots, is_needed in ((POOL.name, 8, True), (DESK_POOL.name, 4, has_desk_books)):
        yield _pool(name, reading.pools.get(name), slots, is_needed=is_needed)


def _pool(name: str, pool: PoolReading | None, slots: int, *, is_needed: bool) -> Diagnosis:
    check, remedy = f"pool {name}", f'airflow pools set {name} {slots} "..."'
    waits = "Its tasks wait for ever, and nothing says so."
    if pool is None:
        if not is_needed:
            return well(check, "there is none, and no desk book is declared here that needs it")
        return wrong(check, "there is no such pool", waits, remedy)
    if pool.slots == 0:
        return wrong(check, "it has no slots", waits, remedy)
    if 0 < pool.slots <= pool.taken and pool.queued:
        what = f"all {pool.slots} slots are taken, and {pool.queued} tasks wait"
        return warning(check, what, "Work is late if it stays so.", f"Look at what holds them, or {remedy}")
    return well(check, f"{pool.taken} of {pool.slots if pool.slots > 0 else 'unbounded'} slots are taken")


def _dags(reading: AirflowReading) -> Iterator[Diagnosis]:
    if reading.dags is None:
        yield _may_not("dags", "DAGs")
        return
    good = []
    for dag_id in DAGS:
        dag, check = reading.dags.get(dag_id), f"dag {dag_id}"
        if dag is None:
            meaning = "What it does is not done."
            remedy = "See that the bundle holds dags/, and `airflow dags list-import-errors`."
            yield wrong(check, "Airflow does not have it", meaning, remedy)
        elif dag.has_import_errors:
            meaning = "Airflow goes on with what it read before, or not at all."
            yield wrong(check, "its file cannot be imported", meaning, "airflow dags list-import-errors")
        elif dag.is_paused:
            tell = wrong if dag_id in _NEEDED_DAGS else warning
            yield tell(check, "it is paused", "What it does is not done.", f"airflow dags unpause {dag_id}")
        else:
            good.append(dag_id)
    if good:
        yield well("dags", f"{len(good)} of {len(DAGS)} DAGs are there and unpaused")


def _import_errors(reading: AirflowReading) -> Iterator[Diagnosis]:
    for file, told in (reading.import_errors or {}).items():
        is_ours = PurePath(file).stem in DAGS or "kraken_" in told
        meaning = (
            "Its DAGs are not read." if is_ours else "DAGs of another team, maybe; ours are named above."
        )
        tell = wrong if is_ours else warning
        yield tell("import errors", f"{file}: {told}", meaning, "airflow dags list-import-errors")
    if reading.import_errors is None:
        yield _may_not("import errors", "import errors")
    elif not reading.import_errors:
        yield well("import errors", "every DAG file can be imported")


def _plugin(reading: AirflowReading) -> Diagnosis:
    if reading.has_pages and (reading.plugins is None or _PLUGIN in reading.plugins):
        return well("plugin", "it is loaded, and its pages answer")
    return wrong(
        "plugin",
        "Airflow's API server has not loaded kraken_recon"
        if not reading.has_pages
        else "it is not registered",
        "There are no pages, deadlines fail, and the Test button of connections is not ours.",
        "`airflow plugins` says why; restart the API server: docs/how-to/read-the-pages.md",
    )
