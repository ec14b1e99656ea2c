"""What runs in the triggerer: waiting without a worker slot."""

from __future__ import annotations
