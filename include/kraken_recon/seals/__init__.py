"""Seals: a chain of hashes over repairs, decisions and approvals, and the command that verifies it."""

from __future__ import annotations
