"""What is done every hour: snapshots, retention, upkeep."""

from __future__ import annotations
