"""Ask a running Airflow by its REST API how its parts, pools, DAGs and our plugin are; read only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import requests

from kraken_recon.doctor.rules.airflow import DAGS
from kraken_recon.doctor.rules.readings import AirflowReading, DagReading, PoolReading
from kraken_recon.plain_text import one_line
from kraken_recon.settings import DESK_POOL, POOL

if TYPE_CHECKING:
    from kraken_recon.sessions.airflow_api import AirflowApi

TIMEOUT_SECONDS: Final = 3
LISTED_MAX: Final = 100
PAGES_MAX: Final = 10
# Of a trace only its last line is told, and of that the beginning.
TOLD_CHARACTERS_MAX: Final = 160
_COMPONENTS: Final = ("metadatabase", "scheduler", "dag_processor", "triggerer")


def look_at_airflow(api: AirflowApi) -> AirflowReading:
    """Read all that the doctor judges; where Airflow could not be asked, only why."""
    try:
        with api.signed_in() as session:
            return _read(_Reader(session, api.base_url))
    except requests.HTTPError as error:
        status = error.response.status_code
        what = "refuses the login" if status in {401, 403} else f"answers with status {status}"
    except requests.RequestException as error:
        what = f"does not answer ({type(error).__name__})"
    except (ValueError, KeyError, TypeError, AttributeError):
        what = "answers, and is no Airflow"
    return AirflowReading(api.base_url, trouble=what)


class _Reader:
    """What is at an address of the API; None where the user may not read it."""

    def __init__(self, session: requests.Session, base_url: str) -> None:
        self.session = session
        self.base_url = base_url

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        reply = self.session.get(f"{self.base_url}/api/v2/{path}", timeout=TIMEOUT_SECONDS)
        if reply.status_code == requests.codes.forbidden:
            return None
        if reply.status_code == requests.codes.not_found:
            return {}
        reply.raise_for_status()
        return reply.json()

    def pages_answer(self) -> bool:
        """Tell whether our pages are there: they ask for a login, where Airflow alone shows its own front."""
        reply = requests.get(
            f"{self.base_url}/kraken-recon/api/latest", timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
        return reply.status_code in {requests.codes.unauthorized, requests.codes.forbidden}


def _read(reader: _Reader) -> AirflowReading:
    health = reader.get("monitor/health") or {}
    plugins = reader.get(f"plugins?limit={LISTED_MAX}")
    return AirflowReading(
        reader.base_url,
        version=str((reader.get("version") or {}).get("version", "")),
        components={part: str((health.get(part) or {}).get("status") or "silent") for part in _COMPONENTS},
        has_pages=reader.pages_answer(),
        pools=_pools(reader),
        dags=_dags(reader),
        import_errors=_import_errors(reader),
        plugins=None if plugins is None else {one["name"]: one["source"] for one in plugins["plugins"]},
        connections=_connections(reader),
    )


def _pools(reader: _Reader) -> dict[str, PoolReading] | None:
    found = {}
    for name in (POOL.name, DESK_POOL.name):
        pool = reader.get(f"pools/{quote(name, safe='')}")
        if pool is None:
            return None
        if pool:
            found[name] = PoolReading(pool["slots"], pool["occupied_slots"], pool["queued_slots"])
    return found


def _dags(reader: _Reader) -> dict[str, DagReading | None] | None:
    found: dict[str, DagReading | None] = {}
    for dag_id in DAGS:
        dag = reader.get(f"dags/{dag_id}")
        if dag is None:
            return None
        is_there = bool(dag) and not dag.get("is_stale")
        found[dag_id] = DagReading(dag["is_paused"], dag["has_import_errors"]) if is_there else None
    return found


def _import_errors(reader: _Reader) -> dict[str, str] | None:
    errors = reader.get(f"importErrors?limit={LISTED_MAX}")
    if errors is None:
        return None
    return {
        one["filename"]: one_line(_last_line(one["stack_trace"]), TOLD_CHARACTERS_MAX)
        for one in errors["import_errors"]
    }


def _connections(reader: _Reader) -> frozenset[str] | None:
    names: set[str] = set()
    for offset in range(0, LISTED_MAX * PAGES_MAX, LISTED_MAX):
        found = reader.get(f"connections?limit={LISTED_MAX}&offset={offset}")
        if found is None:
            return None
        names |= {one["connection_id"] for one in found["connections"]}
        if offset + LISTED_MAX >= found["total_entries"]:
            break
    return frozenset(names)


def _last_line(trace: str) -> str:
    return next((line for line in reversed(trace.splitlines()) if line.strip()), "")
