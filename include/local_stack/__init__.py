"""The processes of demo, tests and benchmarks: start, wait, stop."""

from __future__ import annotations
