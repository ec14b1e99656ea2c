"""Which accounts there are, and what is asked of each."""

from __future__ import annotations
