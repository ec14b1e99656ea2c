"""The server, authentication, paging and call budgets."""

from __future__ import annotations
