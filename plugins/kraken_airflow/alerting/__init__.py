"""Channels of alerts, and heartbeats."""

from __future__ import annotations
