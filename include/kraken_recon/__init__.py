"""Reconcile a trading desk's positions with Kraken: the core, importable without Airflow."""

from __future__ import annotations
