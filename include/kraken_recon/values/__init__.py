"""Money, intervals and other plain values."""

from __future__ import annotations
