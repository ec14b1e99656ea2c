"""Point Airflow at a home of its own, and drop every inherited setting and credential.

Importing this does it, once a process, before any test module is imported: Airflow reads its environment
once, when it is first imported, and an inherited database address would let a test write into somebody's
database. It is no part of ``conftest.py``, because that file is imported under two names.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from desks.memory import place_in_memory

REPOSITORY = Path(__file__).resolve().parents[2]
HOME_BYTES = 2**28


def isolate_airflow() -> None:
    """Change this process's environment."""
    inherited = [name for name in os.environ if name.startswith(("AIRFLOW_", "KRAKEN_RECON_"))]
    for name in set(inherited) - {"KRAKEN_RECON_TEST_POSTGRES_URL"}:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="kraken-recon-airflow-", dir=place_in_memory(HOME_BYTES))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ |= {
        "AIRFLOW_HOME": home,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


isolate_airflow()
