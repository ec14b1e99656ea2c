"""What every DAG of this project keeps to. Each failure names the DAG and what to add."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.sdk import DAG, BaseOperator
from croniter import croniter

from desks.dag_runs import read_dags
from kraken_airflow.dag_parts.deadlines import DueTime, tell_of_failed_task, tell_of_stopped_run
from kraken_airflow.dag_parts.defaults import DESK_POOL, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_recon.alerts.silence_rules import SILENCE_MAX, Job

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

    from airflow.dag_processing.dagbag import DagBag

ROOT = Path(__file__).resolve().parents[2]
DAG_FILES = sorted((ROOT / "plugins/kraken_airflow/dags").glob("[!_]*.py"))
LINES_MAX = 100
PARSE_SECONDS_MAX = 2.0
DOC_ROWS = ("Reads", "Writes", "Re-run", "Backfill", "Late after")
TAGS = {"reconciliation", "orders", "operations", "tier-1", "tier-2"}
TIER_TAGS = {"tier-1", "tier-2"}

# Parses each DAG file after all it imports is loaded, and says how long that took and what it connected to.
PARSE = """
import sys, time, runpy
import airflow.dag_processing.dagbag
connected = []

def watch(event, arguments):
    if event == 'socket.connect':
        connected.append(arguments[1])

sys.addaudithook(watch)
for file in sys.argv[1:]:
    runpy.run_path(file)
    connected.clear()
    started = time.process_time()
    runpy.run_path(file)
    print(file, time.process_time() - started, *connected, sep='|')
"""


@pytest.fixture(scope="module")
def dag_bag() -> DagBag:
    return read_dags()


@pytest.fixture(params=DAG_FILES, ids=lambda path: path.stem)
def file(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def dag(file: Path, dag_bag: DagBag) -> DAG:
    found = dag_bag.dags.get(file.stem)
    assert found is not None, f"{file.name} defines no DAG {file.stem}: name the DAG as the file"
    return found


@pytest.fixture(scope="module")
def cluster_policy() -> ModuleType:
    """Load the policy by its path; under its own name another one may be imported already."""
    spec = importlib.util.spec_from_file_location("our_policy", ROOT / "config/airflow_local_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_dags() -> None:
    assert DAG_FILES


def test_a_dag_folder_names_each_with_one_line() -> None:
    lines = {path.stem: path.read_text() for path in (ROOT / "dags").iterdir() if path.is_file()}
    assert lines == {path.stem: f"from kraken_airflow.dags.{path.stem} import DAG\n" for path in DAG_FILES}


def test_every_file_imports(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}


def test_one_dag_per_file(dag_bag: DagBag) -> None:
    assert sorted(dag_bag.dags) == [path.stem for path in DAG_FILES]


def test_a_dag_fits_on_two_screens(file: Path) -> None:
    lines = len(file.read_text().splitlines())
    assert lines < LINES_MAX, f"{file.stem}: {lines} lines; move rules into include/, wiring into operators"


def test_the_documentation_has_its_rows(dag: DAG) -> None:
    missing = [row for row in DOC_ROWS if f"| {row} |" not in (dag.doc_md or "")]
    assert not missing, f"{dag.dag_id}: add the rows {missing} to the docstring, and doc_md=__doc__"


def test_catching_up_and_overlapping_are_decided(file: Path) -> None:
    stated = set(keywords_of_dag(file))
    missing = {"catchup", "max_active_runs", "dagrun_timeout", "schedule", "start_date"} - stated
    assert not missing, f"{file.stem}: state {sorted(missing)} in @dag(...)"


def keywords_of_dag(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"dag", "DAG"}:
            yield from (keyword.arg for keyword in node.keywords if keyword.arg)


def test_tags_are_known_and_name_one_tier(dag: DAG) -> None:
    assert dag.tags <= TAGS, f"{dag.dag_id}: use tags out of {sorted(TAGS)}, not {sorted(dag.tags - TAGS)}"
    assert len(dag.tags & TIER_TAGS) == 1, f"{dag.dag_id}: give it exactly one of {sorted(TIER_TAGS)}"


def test_a_runbook_exists_and_is_named(dag: DAG) -> None:
    runbook = f"docs/runbooks/{dag.dag_id}.md"
    assert (ROOT / runbook).is_file(), f"{dag.dag_id}: write {runbook} for the person on call"
    assert runbook in (dag.doc_md or ""), f"{dag.dag_id}: name {runbook} in the docstring"


def test_every_dag_has_a_deadline(dag: DAG) -> None:
    deadlines = dag.deadline or []
    assert deadlines, (
        f"{dag.dag_id}: add **due_within(...) of kraken_airflow.dag_parts.deadlines to @dag(...)"
    )
    for deadline in deadlines:
        assert isinstance(deadline.reference, DueTime), f"{dag.dag_id}: count its deadline from DueTime()"
        assert deadline.callback.path == "kraken_airflow.dag_parts.deadlines.record_missed_deadline", (
            dag.dag_id
        )


def test_the_watch_knows_every_dag_with_a_schedule(dag: DAG) -> None:
    schedule: Any = getattr(dag.timetable, "timetable", dag.timetable)
    if not hasattr(schedule, "expression"):
        return
    turns = croniter(schedule.expression)
    pause = timedelta(seconds=-turns.get_next() + turns.get_next())
    assert dag.dag_id in set(Job), f"{dag.dag_id}: add it to Job and SILENCE_MAX of alerts/silence_rules.py"
    assert SILENCE_MAX[Job(dag.dag_id)] > 2 * pause, f"{dag.dag_id}: give it two turns before it is silent"


def test_jobs_are_dags_but_for_the_watch(dag_bag: DagBag) -> None:
    assert set(Job) - {Job.WATCH} <= set(dag_bag.dags)
    assert set(SILENCE_MAX) == set(Job)


def test_a_large_dag_reads_in_groups(dag: DAG) -> None:
    if len(dag.tasks) <= 3:
        return
    for task in dag.tasks:
        group = task.task_group
        assert group is not None
        assert group.group_id, f"{dag.dag_id}.{task.task_id}: put it into a group that reads as a sentence"
        assert group.tooltip, f"{dag.dag_id}.{group.group_id}: say in its tooltip what it does"
        assert group.group_display_name == (group.group_id or "").replace("_", " ")


def test_every_task_has_an_owner_a_limit_and_retries(dag: DAG) -> None:
    for task in dag.tasks:
        assert task.owner != "airflow", f"{dag.dag_id}.{task.task_id}: set owner"
        assert task.execution_timeout, f"{dag.dag_id}.{task.task_id}: set execution_timeout"
        assert task.execution_timeout < dag.dagrun_timeout, (
            f"{dag.dag_id}.{task.task_id}: make its execution_timeout shorter than the run's dagrun_timeout"
        )
        assert task.retries, f"{dag.dag_id}.{task.task_id}: set retries"


def test_a_run_that_fails_is_told_of(dag: DAG) -> None:
    assert dag.on_failure_callback is tell_of_stopped_run, f"{dag.dag_id}: add **due_within(...)"
    for task in dag.tasks:
        assert tell_of_failed_task in task.on_failure_callback, f"{task.task_id}: use DEFAULT_ARGS"


CALLING_POOLS = {KRAKEN_POOL, DESK_POOL}


def test_tasks_that_call_kraken_run_where_there_is_a_way_out(dag: DAG) -> None:
    for task in dag.tasks:
        assert (task.pool in CALLING_POOLS) == (task.queue == EXCHANGE_QUEUE), (
            f"{dag.dag_id}.{task.task_id}: set a pool of {CALLING_POOLS} and queue=EXCHANGE_QUEUE together"
        )


def test_every_task_keeps_to_the_cluster_policy(dag: DAG, cluster_policy: ModuleType) -> None:
    for task in dag.tasks:
        cluster_policy.task_policy(task)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"owner": "airflow"}, "set owner"),
        ({"execution_timeout": None}, "set execution_timeout"),
        ({"pool": "kraken_apy"}, "use a pool that exists"),
    ],
    ids=str,
)
def test_the_cluster_policy_refuses(cluster_policy: ModuleType, changes: dict[str, Any], remedy: str) -> None:
    good = {"owner": "desk", "execution_timeout": timedelta(minutes=1), "pool": "kraken_api"}
    with DAG("policy_test", schedule=None):
        task = BaseOperator(task_id="task", **(good | changes))
    with pytest.raises(AirflowClusterPolicyViolation, match=f"policy_test.task: .*{remedy}"):
        cluster_policy.task_policy(task)


@pytest.fixture(scope="module")
def parsed(project_environment: dict[str, str]) -> dict[str, list[str]]:
    """Parse every file in one process: the seconds of CPU, and what it connected to, by path."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PARSE, *map(str, DAG_FILES)],
        env=project_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.split("|") for line in done.stdout.splitlines() if line.startswith(str(ROOT)))
    return {path: told for path, *told in lines}


def test_parsing_is_quick_and_connects_to_nothing(file: Path, parsed: dict[str, list[str]]) -> None:
    seconds, *connected = parsed[str(file)]
    assert not connected, f"{file.stem}: connects to {connected} while it is parsed; do it in a task"
    assert float(seconds) < PARSE_SECONDS_MAX, f"{file.stem}: parsing takes {seconds} s of CPU"


def test_a_task_does_not_load_what_only_migrations_need(project_environment: dict[str, str]) -> None:
    listed = "import sys, kraken_recon.wiring; print('alembic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", listed], env=project_environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
