"""The one error of the local stack; its message says what to do."""

from __future__ import annotations


class LocalStackError(Exception):
    """A part of the local stack could not start, stop or answer."""
