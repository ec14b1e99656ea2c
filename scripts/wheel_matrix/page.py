"""The page that says where the wheel was tried, and what came out."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from wheel_matrix.cells import LOWEST, PINNED, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wheel_matrix.checks import Result

PAGE: Final = ROOT / "docs/reference/supported-versions.md"
STEPS: Final = ("installs", "commands", "DAGs", "sync", "extras")
TEXT: Final = """\
<!-- Written by `make matrix ALL=1`. -->
# Supported versions

| of | supported |
|---|---|
| Airflow | 3.2.2 and newer, below 4 |
| Python | 3.11, 3.12, 3.13 |
| SQLAlchemy | 2.0.50 and newer, and 2.1 |
| psycopg | 3.2.9 and newer, below 4 |
| PostgreSQL | 15 and newer |

The wheel asks for ranges, so that an Airflow that is installed by constraints keeps them:

```
pip install "apache-airflow==3.2.2" "kraken-recon[celery,fab,slack,smtp]" --constraint CONSTRAINTS
```

| extra | for | without it |
|---|---|---|
| `celery` | workers on other machines | Airflow's own executors |
| `fab` | people and roles of Airflow's FAB auth manager | Airflow's simple auth manager, or yours |
| `slack` | alerts to Slack | such a channel says what to install; all else works |
| `smtp` | alerts by e-mail | the same, where an Airflow does without its own e-mail provider |
| `mysql` | desk books in MySQL or MariaDB | such a book says what to install |
| `plot` | `audit --plot` | the option says what to install |

On Airflow 3.2 all DAGs run, and three things of Airflow's own are less:

- A DAG's deadline has no name in the UI (*due within 0:15:00*). Deadlines and their alerts are the same.
- Timers reach an OpenTelemetry collector as gauges, not as histograms; StatsD gets the same as from 3.3.
- *Test Connection* takes a stored key to a host that was typed over it; 3.3 refuses.
  `KRAKEN_RECON_ALLOWED_HOSTS` limits to which hosts any key is sent.

## Tried

The wheel is built and installed into a clean environment, without extras, by the constraints in
`deploy/constraints`. There it meets a simulated Kraken and a PostgreSQL:

- *installs*: every requirement is met within the constraints.
- *commands*: `migrate`, `account add` and a dry run of `sync` end with status 0.
- *DAGs*: a bundle of six stubs gives six DAGs, which Airflow records; the hook is registered, and by its
  entry point the plugin; a run of `position_sync` succeeds.
- *sync*: the account is proved by that run.
- *extras*: without them a channel says what to install; with them it can be made, and Airflow's FAB auth
  manager and Celery executor can be imported.

{table}

*{lowest}*: the least version of each package that is allowed. *{pinned}*: `requirements.txt`, which the image
and a checkout have, and on which the whole suite runs.

Measured {day} on {machine}. `make matrix` tries two corners of it, as CI does, and
`make matrix AIRFLOW=3.2.2 ON_PYTHON=3.12` one cell; `make matrix ALL=1` tries all and writes this page.
"""


def write_page(results: Sequence[Result]) -> None:
    """Write the page from the results of a whole matrix."""
    PAGE.write_text(
        TEXT.format(
            table=table(results),
            lowest=LOWEST,
            pinned=PINNED,
            day=datetime.now(UTC).date().isoformat(),
            machine=f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores",
        )
    )


def table(results: Sequence[Result]) -> str:
    """Write what came out as a table."""
    heads = ("Airflow", "Python", "SQLAlchemy", "psycopg", *STEPS, "seconds")
    rows = [heads, ("---",) * (len(heads) - 1) + ("--:",), *map(_row, results)]
    return "\n".join(
        f"| {' | '.join(row)} |".replace("| --- ", "|---").replace("| --: |", "|--:|") for row in rows
    )


def _row(result: Result) -> tuple[str, ...]:
    cell = (result.cell.airflow, result.cell.python)
    if result.skipped:
        return (*cell, "", "", *[result.skipped] * len(STEPS), "")
    found = [result.versions.get(name, "") for name in ("sqlalchemy", "psycopg")]
    said = [{"": "yes", None: ""}.get(result.steps.get(name), "**no**") for name in STEPS]
    return (*cell, *found, *said, f"{result.seconds:.0f}")
