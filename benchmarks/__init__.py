"""Compare this project with other ways to do the same job, side by side on one machine."""

from __future__ import annotations
