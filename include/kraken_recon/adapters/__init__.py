"""The edge: Kraken over HTTP and Postgres."""

from __future__ import annotations
