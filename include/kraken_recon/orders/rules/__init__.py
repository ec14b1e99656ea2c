"""What an order is, how large it may be, and which ones were filled."""

from __future__ import annotations
