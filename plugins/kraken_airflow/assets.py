"""What the DAGs of this project tell others they have brought up to date."""

from __future__ import annotations

from typing import Final

from airflow.sdk import Asset

POSITIONS_RECONCILED: Final = Asset(name="positions_reconciled", uri="kraken-recon://positions/reconciled")
