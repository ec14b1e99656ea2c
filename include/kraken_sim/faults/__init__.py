"""What goes wrong on purpose."""

from __future__ import annotations
