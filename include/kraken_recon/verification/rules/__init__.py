"""What an order must agree with."""

from __future__ import annotations
