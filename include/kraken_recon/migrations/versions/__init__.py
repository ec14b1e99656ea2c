"""One file per schema change."""

from __future__ import annotations
