"""What people decide about repairs: approve, reject, undo."""

from __future__ import annotations
