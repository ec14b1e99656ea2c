"""Use cases; they speak only to ports."""

from __future__ import annotations
