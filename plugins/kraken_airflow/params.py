"""What a person may choose when triggering a DAG, as the fields of Airflow's form."""

from __future__ import annotations

from typing import Final

from airflow.sdk import Param

SYNC_PARAMS: Final = {
    "accounts": Param(
        [],
        type=["null", "array"],  # a form field that may be left empty
        items={"type": "string", "minLength": 1},
        title="Accounts",
        description="Names of the accounts to reconcile, one per line. Empty: every active account.",
    ),
    "mode": Param(
        "repair",
        type="string",
        enum=["repair", "dry_run"],
        title="Mode",
        description="repair puts the database right; dry_run only records what a repair would do.",
    ),
    "tolerance": Param(
        "0.001",
        type="string",
        pattern=r"^[0-9]{1,20}(\.[0-9]{1,18})?$",
        title="Tolerance",
        description="An unexplained difference of at most this many units of an asset is recorded and left "
        "alone. A decimal number that is not negative, such as 0.001.",
    ),
    "sweep_age_hours": Param(
        24,
        type="integer",
        minimum=1,
        maximum=744,
        title="Sweep age (hours)",
        description="An account's ledger is read and proved in any case once its last proof is nearly this "
        "old, even if its balances agree: entries that cancel out show in no balance.",
    ),
}
