"""The trading database behind the unit-of-work port."""

from __future__ import annotations
