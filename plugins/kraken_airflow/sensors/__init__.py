"""Tasks that wait for something outside Airflow."""

from __future__ import annotations
