"""Channels of alerts, and where their links lead."""

from __future__ import annotations
