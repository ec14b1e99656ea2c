"""Revisions of the trading schema."""
