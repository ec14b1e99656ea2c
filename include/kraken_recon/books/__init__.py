"""The books of the desk: the one way in which a position moves."""

from __future__ import annotations
