"""Find database sessions that Python source may leave open, or opens in the wrong place."""

from __future__ import annotations
