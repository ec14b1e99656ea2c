"""What a repair would write, or wrote."""

from __future__ import annotations
