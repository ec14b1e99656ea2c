"""What every DAG of this project keeps to. Each failure names the DAG and what to add."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from airflow.exceptions import AirflowClusterPolicyViolation
from airflow.sdk import DAG, BaseOperator
from airflow.sdk.configuration import conf
from croniter import croniter

from desks.dag_runs import read_dags
from kraken_airflow.cluster_policy import dag_policy, problems_of
from kraken_airflow.dag_parts.deadlines import DueTime, tell_of_failed_task, tell_of_stopped_run
from kraken_airflow.dag_parts.defaults import DESK_POOL, EXCHANGE_QUEUE, KRAKEN_POOL
from kraken_airflow.sensors.order_verification import OrderVerificationSensor
from kraken_recon.alerts.silence_rules import SILENCE_MAX, Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import Context

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


def test_every_task_backs_off_and_is_done_trying_long_before_its_deadline(dag: DAG) -> None:
    limit = min(deadline.interval for deadline in dag.deadline or [])
    for task in dag.tasks:
        assert task.retry_exponential_backoff > 1, f"{task.task_id}: use DEFAULT_ARGS"
        assert task.max_retry_delay, f"{task.task_id}: use DEFAULT_ARGS"
        # Airflow draws each wait between the delay and twice as much.
        waits = [
            min(2 * task.retry_delay * task.retry_exponential_backoff**tries, task.max_retry_delay)
            for tries in range(task.retries)
        ]
        assert sum(waits, timedelta()) < limit / 2, f"{dag.dag_id}.{task.task_id}: {waits}"


def operators_of_ours() -> list[type[BaseOperator]]:
    """List every class of operator that other DAGs can use, sensors among them."""
    found, left = [], [BaseOperator]
    while left:
        left += (kind := left.pop()).__subclasses__()
        found += [kind] if kind.__module__.startswith("kraken_airflow.") else []
    return found


def test_ids_of_connections_are_template_fields_and_deferring_follows_airflows_default(
    dag_bag: DagBag,
) -> None:
    assert dag_bag.dags
    assert len(operators_of_ours()) >= 15
    for kind in operators_of_ours():
        parameters = {
            name: parameter
            for one in kind.__mro__
            for name, parameter in inspect.signature(one).parameters.items()
            if one.__module__.startswith("kraken_airflow.")
        }
        ids = {name for name in parameters if name.endswith("_conn_id")}
        assert ids <= set(kind.template_fields), f"{kind.__name__}: add {ids} to template_fields"
        if "deferrable" in parameters:
            assert parameters["deferrable"].default == conf.getboolean("operators", "default_deferrable")


def test_what_a_template_makes_of_a_connections_id_is_used() -> None:
    sensor = OrderVerificationSensor(task_id="verify", trading_conn_id="{{ params.books }}")
    sensor.render_template_fields(cast("Context", {"params": {"books": "other_db"}}))
    assert sensor.hook().trading_conn_id == "other_db"


def test_our_own_dags_say_whether_their_tasks_defer(dag: DAG) -> None:
    for task in dag.tasks:
        kind = task.operator_class if task.is_mapped else type(task)
        if any("deferrable" in inspect.signature(one).parameters for one in kind.__mro__):
            given = task.partial_kwargs if task.is_mapped else task._BaseOperator__init_kwargs  # noqa: SLF001
            assert "deferrable" in given, f"{dag.dag_id}.{task.task_id}: say deferrable=..."


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


def test_every_task_keeps_to_the_cluster_policy(dag: DAG) -> None:
    for task in dag.tasks:
        assert not problems_of(task)


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"owner": "airflow"}, "set owner"),
        ({"execution_timeout": None}, "set execution_timeout"),
        ({"pool": "kraken_apy"}, "use a pool that exists"),
    ],
    ids=str,
)
def test_the_cluster_policy_refuses_our_dags_and_no_others(
    changes: dict[str, Any], remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = read_dags().dags["session_leak_audit"]
    with DAG("session_leak_audit", schedule=None, tags=ours.tags) as of_others:
        BaseOperator(task_id="task", **changes)
    dag_policy(of_others)
    task = ours.get_task("check_watch")
    for name, value in changes.items():
        # Whoever imports the DAG next gets this very task.
        monkeypatch.setattr(task, name, value)
    with pytest.raises(AirflowClusterPolicyViolation, match=f"session_leak_audit.check_watch: .*{remedy}"):
        dag_policy(ours)


# Another team's DAG beside ours, with everything in it that ours may not have, and that team's own policy.
OF_OTHERS = """
from airflow.sdk import DAG, BaseOperator
with DAG("report", schedule=None, tags=["reconciliation", "tier-1"]):
    BaseOperator(task_id="task", pool="theirs")
"""
THEIR_POLICY = """
def task_policy(task):
    task.doc = "seen"
"""
READ = """
import sys
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(sys.argv[1])
seen = all(task.doc == "seen" for dag in bag.dags.values() for task in dag.tasks)
print("read", bag.import_errors, *sorted(bag.dags), seen, sep="|")
"""


def test_dags_of_others_stay_beside_ours_whose_policy_comes_with_the_package(
    project_environment: dict[str, str], tmp_path: Path
) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    installed = tmp_path / "site/kraken_recon_policy-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: kraken-recon-policy\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in declared["airflow.policy"].items()]
    (installed / "entry_points.txt").write_text("\n".join(["[airflow.policy]", *lines, ""]))
    (installed.parent / "airflow_local_settings.py").write_text(THEIR_POLICY)
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "report.py").write_text(OF_OTHERS)
    refused = "from kraken_airflow.dags.maintenance import DAG\nDAG.get_task('tidy').pool = 'gone'\n"
    (dags / "maintenance.py").write_text(refused)
    (dags / "order_execution.py").write_text((ROOT / "dags/order_execution.py").read_text())
    path = os.pathsep.join([str(installed.parent), project_environment["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READ, str(dags)],
        env=project_environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    [told] = [line for line in done.stdout.splitlines() if line.startswith("read|")]
    _, errors, *found, are_seen = told.split("|")
    assert found == ["order_execution", "report"], told
    assert are_seen == "True"
    assert [Path(file).name for file in ast.literal_eval(errors)] == ["maintenance.py"]
    assert "use a pool that exists" in errors


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
