"""History from before an account was opened, from Kraken's own exports."""

from __future__ import annotations
