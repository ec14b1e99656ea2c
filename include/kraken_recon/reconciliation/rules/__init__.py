"""What differs, why, and what may be done about it."""

from __future__ import annotations
