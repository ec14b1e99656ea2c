"""The pages shown in the Airflow UI, for whoever may see the DAGs whose rows they show."""

from __future__ import annotations
