"""A local Kraken over HTTP; a separate program that shares no code with the system under test."""

from __future__ import annotations
