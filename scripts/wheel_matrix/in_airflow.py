"""Look what an Airflow with the wheel and a bundle of stubs has, and let it run one sync.

The clean environment's own Python runs this file, isolated from the checkout:
``python -I in_airflow.py BUNDLE ACCOUNT``. It prints one JSON document.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.plugins_manager import get_import_errors, get_plugin_info
from airflow.providers_manager import ProvidersManager
from airflow.utils.db import initdb


def main(bundle: str, account: str) -> dict[str, Any]:
    """Load, register and run; return what came out."""
    initdb()
    bag = DagBag(bundle, bundle_path=Path(bundle))
    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    sync_bag_to_db(bag, "dags-folder", None)  # the deadlines and the assets are written down here
    plugins = [str(one["source"]) for one in get_plugin_info() if one["name"] == "kraken_recon"]
    hook = ProvidersManager().hooks["kraken"]  # type: ignore[no-untyped-call]
    told = {
        "dags": sorted(bag.dags),
        "import_errors": {name: str(error) for name, error in bag.import_errors.items()},
        "plugins": plugins,
        "plugin_errors": {name: str(error) for name, error in get_import_errors().items()},
        "hook": hook.hook_class_name if hook else "",
    }
    return {**told, "sync": _sync(bag, account) if "position_sync" in bag.dags else "not loaded"}


def _sync(bag: DagBag, account: str) -> str:
    dag: Any = bag.dags["position_sync"]
    dag.deadline = None  # dag.test() ends in an error with one (apache/airflow#73428)
    return str(dag.test(run_conf={"accounts": [account]}).state.value)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
