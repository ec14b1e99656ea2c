"""The page shown inside the Airflow UI: read-only, without scripts, for whoever may see `position_sync`."""

from __future__ import annotations
