"""How exported rows extend a recorded history."""

from __future__ import annotations
