"""One Airflow, one desk and one Chromium for every test of the browser."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from conftest import start_simulator
from desks.browser import started_desk
from desks.chromium import BEFORE_SIGNING_IN, Noise, path_of_chromium
from local_stack.databases import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page, StorageState

    from conftest import NewDatabase
    from desks.airflow_processes import StartAirflow
    from desks.browser import BrowserDesk

PATIENCE_MILLISECONDS = 30_000
# `expect` has a patience of its own.
expect.set_options(timeout=PATIENCE_MILLISECONDS)


@pytest.fixture(scope="module")
def chromium() -> str:
    """Return where Chromium is; without it skip, but fail in CI."""
    path = path_of_chromium()
    if path is None:
        message = "no Chromium: install it (apt-get install chromium), or set CHROMIUM to its path"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    return path


@pytest.fixture(scope="module")
def trading(chromium: str, postgres_url: str, new_database: NewDatabase) -> Iterator[Database]:
    """Yield a migrated database that no other test sees; where nobody can look, none is made."""
    del chromium
    with new_database() as url:
        yield Database(postgres_url, urlsplit(url).path.lstrip("/"))


@pytest.fixture(scope="module")
def desk(
    trading: Database,
    tmp_path_factory: pytest.TempPathFactory,
    project_environment: dict[str, str],
    start_airflow: StartAirflow,
) -> Iterator[BrowserDesk]:
    """Yield the desk; starting it takes most of this module's time."""
    log = tmp_path_factory.mktemp("browser") / "simulator.log"
    # A simulator of its own: other tests give theirs a new beginning.
    with (
        start_simulator(log, project_environment) as simulator,
        started_desk(trading, simulator, start_airflow) as desk,
    ):
        yield desk


@pytest.fixture(scope="module")
def browser(desk: BrowserDesk, chromium: str) -> Iterator[Browser]:
    """Yield Chromium, started after all that must not run beside Playwright's event loop."""
    del desk
    # A library path of somebody's shell is not for Chromium.
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"], env=environment
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, desk: BrowserDesk) -> StorageState:
    """Sign in by Airflow's own form, once; return the cookies."""
    context = browser.new_context(base_url=desk.login.url)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    noise = Noise(context, desk.login.url)
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Username").fill(desk.login.user)
    page.get_by_label("Password").locator("visible=true").fill(desk.login.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Positions", exact=True).wait_for()
    noise.check(allowed=BEFORE_SIGNING_IN)
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def context(browser: Browser, desk: BrowserDesk, signed_in: StorageState) -> Iterator[BrowserContext]:
    """Yield a window of somebody who has signed in; fail if it ever complained."""
    context = browser.new_context(
        base_url=desk.login.url, storage_state=signed_in, viewport={"width": 1280, "height": 900}
    )
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    noise = Noise(context, desk.login.url)
    yield context
    noise.check()
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """Return an empty page of that window."""
    return context.new_page()
