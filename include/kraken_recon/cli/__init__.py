"""The command line, a module per family of commands."""

from __future__ import annotations
