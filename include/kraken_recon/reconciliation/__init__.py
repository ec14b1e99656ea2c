"""Reconciling accounts with Kraken, now and as of a past interval."""

from __future__ import annotations
