"""Desk books: the tables in which a desk itself keeps what it believes its accounts hold."""

from __future__ import annotations
