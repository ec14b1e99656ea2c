"""What people read about all accounts."""

from __future__ import annotations
