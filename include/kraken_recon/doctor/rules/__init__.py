"""From what was read to what is wrong with it: pure."""

from __future__ import annotations
