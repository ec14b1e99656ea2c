"""Chromium for tests: where it is, what it complains of, and what a page keeps from people."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, Response

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
BAD_REQUEST: Final = 400
# A page that goes on to another gives up what it was still asking for; Chromium calls that a failure.
GIVEN_UP: Final = "net::ERR_ABORTED"
# Airflow's start page asks who somebody is before it sends them to the form.
BEFORE_SIGNING_IN: Final = (
    "401: GET /ui/config",
    "error: Failed to load resource: the server responded with a status of 401 (Unauthorized)",
)


def path_of_chromium() -> str | None:
    """Find Chromium: the one that ``CHROMIUM`` names, or the installed one."""
    if given := os.environ.get("CHROMIUM"):
        return given
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Noise:
    """What the pages of a window complain of: errors in the console, exceptions, requests that failed."""

    def __init__(self, context: BrowserContext, base_url: str) -> None:
        self._base_url = base_url
        self._complaints: list[str] = []
        context.on("console", self._spoken)
        context.on("weberror", lambda error: self._complaints.append(f"exception: {error.error}"))
        context.on("requestfailed", self._failed)
        context.on("response", self._answered)

    def _spoken(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "assert"}:
            self._complaints.append(f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure != GIVEN_UP:
            self._complaints.append(f"{request.failure}: {self._named(request)}")

    def _answered(self, response: Response) -> None:
        if response.status >= BAD_REQUEST:
            self._complaints.append(f"{response.status}: {self._named(response.request)}")

    def _named(self, request: Request) -> str:
        return f"{request.method} {request.url.removeprefix(self._base_url)}"

    def check(self, *, allowed: tuple[str, ...] = ()) -> None:
        """Fail if there was a complaint beside those that are allowed by their exact text."""
        assert [complaint for complaint in self._complaints if complaint not in allowed] == []


def barriers(page: Page) -> list[str]:
    """Name what keeps people from using a page, as axe finds it: the rule, its words, and where."""
    return [
        f"{violation['id']}: {violation['help']}: {node['html']}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
    ]
