"""The Airflow shell: wiring, no rules."""

from __future__ import annotations
