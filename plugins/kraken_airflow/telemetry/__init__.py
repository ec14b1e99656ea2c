"""What runs tell of themselves: logs, metrics, lineage."""

from __future__ import annotations
