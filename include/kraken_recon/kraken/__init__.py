"""Kraken's REST API and files: calls, budgets, errors and parsing."""

from __future__ import annotations
