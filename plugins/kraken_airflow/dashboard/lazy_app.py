"""Put off the making of the page until somebody asks for it: Airflow's security costs a second to import."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send


class LazyDashboard:
    """An ASGI application that becomes the dashboard at its first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._app: FastAPI | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        await self._made()(scope, receive, send)

    def _made(self) -> FastAPI:
        with self._lock:
            if self._app is None:
                from kraken_airflow.dashboard.app import create_app  # noqa: PLC0415 - the point of this module

                self._app = create_app()
            return self._app
