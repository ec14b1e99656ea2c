"""Proofs of an account's positions at a moment."""

from __future__ import annotations
