"""Pairs, prices and matching."""

from __future__ import annotations
