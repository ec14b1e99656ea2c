"""What people do with this project in their browser, and what came of it in the database."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from desks.browser import HELD, HELD_BITCOINS, SYNC, Caller
from desks.browser_pages import PAGES, PICTURED, STATEMENT_ACCOUNT, THEMES, WIDTHS, keep_picture, look
from desks.chromium import barriers
from kraken_recon.values.money import format_amount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from playwright.sync_api import Browser, Frame, Locator, Page, Route, StorageState

    from desks.browser import BrowserDesk
    from desks.browser_pages import Shown, Theme

pytestmark = pytest.mark.timeout(300)
STORED_KEY = "kraken_stored"
READS = ["query-funds", "query-ledger", "query-open-trades", "query-closed-trades"]
TRADES = ["modify-trades", "close-trades"]
PATIENCE_MILLISECONDS = 30_000
PICTURES = os.environ.get("SCREENSHOTS")
RUNS = """
select a.name, r.mode, r.status, r.interval_start
from trading.reconciliation_runs r
join trading.accounts a using (account_id)
where r.mode = %s and r.trigger = %s
order by r.interval_start, a.name
"""


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_every_page_is_open_to_everybody(page: Page, shown: Shown, theme: Theme, desk: BrowserDesk) -> None:
    look(page, shown, theme, desk)
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        if PICTURES and shown in PICTURED:
            page.reload()  # charts are drawn for the width that they find
            keep_picture(page, Path(PICTURES) / f"{shown.name}-{theme}-{width}.png", height=height)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        found = barriers(page)
        assert not found, f"at {width} pixels:\n" + "\n".join(found)


def test_the_picture_shows_what_the_readme_says_of_it(page: Page) -> None:
    """The number of the demo's accounts, and how many of them need a look."""
    page.goto("/kraken-recon/")
    expect(page.get_by_text("2 of 8 accounts need a look")).to_be_visible()
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    assert "two of eight accounts need a look" in readme


def frame_of(page: Page) -> Frame:
    """Open the pages as Airflow shows them, in its frame."""
    page.goto("/plugin/positions")
    page.frame_locator("iframe").get_by_role("heading", level=1).wait_for()
    return [frame for frame in page.frames if "/kraken-recon/" in frame.url][-1]


def ground_of(frame: Frame) -> str:
    colour: str = frame.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_the_pages_follow_the_theme_that_is_chosen_in_airflow(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    frame = frame_of(page)
    light = ground_of(frame)
    # Airflow's own switch, as its user finds it.
    page.get_by_text("User", exact=True).click()
    page.get_by_text("Appearance", exact=True).click()
    page.get_by_text("Dark Mode", exact=True).click()
    frame.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert ground_of(frame) != light
    frame.goto("/kraken-recon/orders")
    assert frame.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_page_keeps_itself_young_and_greys_out_when_the_server_is_gone(
    browser: Browser, desk: BrowserDesk, signed_in: StorageState
) -> None:
    # A window of its own: its console says that the server is gone.
    context = browser.new_context(base_url=desk.login.url, storage_state=signed_in)
    page = context.new_page()
    # The page's clock stands still but for what is run of it, however slow the machine is.
    now = datetime.now(UTC)
    page.clock.install(time=now)
    page.clock.pause_at(now + timedelta(seconds=1))
    page.goto("/kraken-recon/")
    page.clock.run_for(20_000)
    expect(page.locator(".aging")).to_have_text(", 20 s ago")
    seen = (page.locator(".seen").text_content() or "").partition(",")[0]
    time.sleep(1)  # the server's clock is a real one, and its page tells whole seconds
    with page.expect_response("**/kraken-recon/"):
        page.clock.run_for(45_000)
    expect(page.locator(".seen")).not_to_contain_text(seen)
    expect(page.locator(".aging")).to_have_text(re.compile(r"^, [0-5] s ago$"))
    page.route("**/kraken-recon/", lambda route: route.fulfill(status=503, body="gone"))
    page.clock.run_for(61_000)
    expect(page.locator("#stale")).to_contain_text("The server answers 503.")
    expect(page.locator("html.stale")).to_be_attached()
    page.unroute("**/kraken-recon/")
    with page.expect_response("**/kraken-recon/"):
        page.clock.run_for(16_000)
    expect(page.locator("html.stale")).not_to_be_attached()
    context.close()


def test_what_somebody_types_stays_when_the_page_is_refreshed(page: Page) -> None:
    page.clock.install()
    page.goto("/kraken-recon/differences")
    page.get_by_label("Account").fill("half a na")
    with page.expect_response("**/kraken-recon/differences"):
        page.clock.run_for(61_000)
    expect(page.get_by_label("Account")).to_have_value("half a na")


def test_nobody_is_led_to_the_login_and_back_to_the_page(browser: Browser, desk: BrowserDesk) -> None:
    stranger = browser.new_context(base_url=desk.login.url)
    stranger.set_default_timeout(30_000)
    page = stranger.new_page()
    page.goto("/kraken-recon/differences?kind=now")
    page.get_by_label("Username").fill(desk.login.user)
    page.get_by_label("Password").locator("visible=true").fill(desk.login.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/kraken-recon/differences?kind=now")
    expect(page.get_by_role("heading", name="What differed?", level=1)).to_be_visible()
    stranger.close()


LONG_TEXTS = """
update trading.reconciliation_runs set note = repeat('withoutanyspace', 20) where status = 'succeeded';
update trading.alerts set message = message || repeat('/a-long-path-without-any-space', 12),
  asset = coalesce(asset, repeat('LONG', 8));
update trading.desk_differences set reason = repeat('withoutanyspace', 20);
update trading.desk_book_runs set problems = jsonb_build_array(jsonb_build_object('where', repeat('x', 60),
  'what', repeat('/a-table-without-any-space', 12), 'remedy', repeat('long', 30)));
insert into trading.accounts (name, kraken_conn_id)
values (repeat('a-name-as-long-as-they-may-be-', 3) || 'x', 'kraken_long') on conflict do nothing;
"""


@pytest.mark.parametrize("shown", PAGES, ids=lambda shown: shown.name)
def test_every_table_fits_into_airflow_s_frame_at_1280_also_with_long_texts(
    page: Page, shown: Shown, desk: BrowserDesk
) -> None:
    desk.execute(LONG_TEXTS)
    frame = frame_of(page)
    frame.goto(shown.address(desk))
    frame.get_by_role("heading", level=1).first.wait_for()
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    wide = frame.evaluate(
        "[...document.querySelectorAll('.panel')].filter((p) => p.scrollWidth > p.clientWidth + 1)"
        ".map((p) => `${p.scrollWidth} in ${p.clientWidth}: ${p.innerText.slice(0, 90)}`)"
    )
    assert wide == []


def test_nobody_sees_a_page_before_signing_in(browser: Browser, desk: BrowserDesk) -> None:
    stranger = browser.new_context(base_url=desk.login.url)
    assert {stranger.request.get(shown.address(desk)).status for shown in PAGES} == {401}
    stranger.close()


def test_the_pages_stand_in_the_navigation(page: Page) -> None:
    page.goto(f"/dags/{SYNC}")
    page.locator("a[href='/plugin/positions']").click()
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("heading", name="Is everything accounted for?", level=1)).to_be_visible()
    inside.get_by_role("link", name="What wants me?").click()
    expect(inside.get_by_role("heading", name="What wants me?", level=1)).to_be_visible()


def test_a_difference_is_followed_to_its_ledger_row(page: Page, desk: BrowserDesk) -> None:
    [found] = desk.rows(
        "select d.ledger_ids, d.explained from trading.discrepancies d"
        " join trading.reconciliation_runs r using (run_id)"
        " join trading.accounts a on a.account_id = r.account_id"
        " where a.name = %s and d.asset = 'BTC' and r.trigger = 'scheduled'",
        STATEMENT_ACCOUNT,
    )
    page.goto("/kraken-recon/")
    page.get_by_role("link", name="What differed?").click()
    page.get_by_label("Account").fill(STATEMENT_ACCOUNT)
    page.get_by_label("Asset").fill("BTC")
    page.get_by_role("button", name="Show").click()
    difference = page.get_by_role("row").filter(has_text="missed trade entry")
    difference.get_by_role("link", name="BTC").click()
    heading = f"Statement of BTC, account {STATEMENT_ACCOUNT}"
    expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()
    [ledger_id] = found["ledger_ids"]
    expect(page.locator("mark")).to_have_text(ledger_id)
    amount = format_amount(found["explained"])
    expect(page.get_by_role("row").filter(has_text=ledger_id).filter(has_text=amount)).to_be_visible()


def test_a_difference_of_a_desk_book_is_followed_from_the_account_to_its_ledger_row(
    page: Page, desk: BrowserDesk
) -> None:
    [found] = desk.rows(
        "select ledger_ids from trading.desk_differences join trading.accounts using (account_id)"
        " where name = %s and asset = 'BTC'",
        STATEMENT_ACCOUNT,
    )
    page.goto("/kraken-recon/")
    account = page.get_by_role("row").filter(has_text=STATEMENT_ACCOUNT).first
    expect(account.get_by_text("agrees but for 2 small or waiting")).to_be_visible()
    account.get_by_role("link", name=STATEMENT_ACCOUNT, exact=True).click()
    page.get_by_role("link", name="What differed in arena").click()
    expect(page.get_by_label("Desk book")).to_have_value("arena")
    difference = page.get_by_role("row").filter(has_text="the newest entries are not there yet")
    difference.get_by_role("link", name="BTC").click()
    expect(page.locator("mark").first).to_be_visible()
    assert set(page.locator("mark").all_inner_texts()) == set(found["ledger_ids"])


def test_an_alert_is_acknowledged(page: Page, desk: BrowserDesk) -> None:
    page.goto("/kraken-recon/wants")
    alert = page.get_by_role("row").filter(has_text="session leak")
    alert.get_by_role("textbox").fill("restarting desk_pnl")
    alert.get_by_role("button", name="Acknowledge").click()
    expect(alert.get_by_text("Note: restarting desk_pnl")).to_be_visible()
    kept = "select status, acknowledged_by, note from trading.alerts where kind = 'session_leak'"
    assert desk.rows(kept) == [
        {"status": "acknowledged", "acknowledged_by": desk.login.user, "note": "restarting desk_pnl"}
    ]


@pytest.fixture
def second(browser: Browser, desk: BrowserDesk, signed_in: StorageState) -> Iterator[Page]:
    """Yield a window whose console may complain: what fails in it is meant to."""
    context = browser.new_context(base_url=desk.login.url, storage_state=signed_in)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    yield context.new_page()
    context.close()


# What a page of another site may try; the cookie goes along, because a port makes no other host.
ANOTHER_SITE = """async (question) => {
  const body = JSON.stringify({ chosen_options: ["Approve"], params_input: {} });
  const tried = ["application/json", "text/plain"].map((type) =>
    fetch(question, { method: "PATCH", body, credentials: "include", headers: { "Content-Type": type } }));
  tried.push(fetch(question, { method: "POST", body, credentials: "include", mode: "no-cors" }));
  return (await Promise.allSettled(tried)).map((one) => one.value?.type ?? "refused");
}"""


def test_another_site_cannot_answer_with_the_login_of_its_reader(second: Page, desk: BrowserDesk) -> None:
    [plan] = second.request.get("/kraken-recon/api/held").json()["held"]
    second.goto(f"{desk.simulator.base_url}/0/public/Time")
    question = desk.login.url + plan["question"]
    assert second.evaluate(ANOTHER_SITE, question) == ["refused", "refused", "opaque"]
    assert not second.request.get(question).json()["response_received"]


# Reading by script, by data that is run as a script, and by a frame.
ANOTHER_SITE_READS = """async ([data, page]) => {
  const told = [];
  for (const mode of ["cors", "no-cors"]) {
    const asked = fetch(data, { credentials: "include", mode });
    told.push(await asked.then((reply) => reply.type, () => "refused"));
  }
  const loaded = (kind, address) => new Promise((resolve) => {
    const element = document.createElement(kind);
    element.onload = () => resolve("loaded");
    element.onerror = () => resolve("refused");
    element.src = address;
    document.body.append(element);
  });
  told.push(await loaded("script", data));
  await loaded("iframe", page);
  return told;
}"""
POSTED_FORM = """(address) => {
  const form = Object.assign(document.createElement("form"), { method: "post", action: address });
  for (const [name, value] of [["alert_id", "1"], ["token", "guessed"], ["note", "hidden"]]) {
    form.append(Object.assign(document.createElement("input"), { name, value }));
  }
  document.body.append(form);
  form.submit();
}"""


def test_another_site_can_neither_read_nor_frame_nor_post_to_the_pages(
    second: Page, desk: BrowserDesk
) -> None:
    alerts = "select alert_id, status, note from trading.alerts order by alert_id"
    before = desk.rows(alerts)
    assert before
    pages = f"{desk.login.url}/kraken-recon"
    second.goto(f"{desk.simulator.base_url}/0/public/Time")
    read = second.evaluate(ANOTHER_SITE_READS, [f"{pages}/api/latest", f"{pages}/wants"])
    assert read in (["refused", "opaque", "refused"], ["refused", "refused", "refused"])
    assert second.frames[-1].url.startswith("chrome-error:"), "no other site may frame a page"
    with second.expect_navigation():
        second.evaluate(POSTED_FORM, f"{pages}/acknowledge")
    assert second.url == f"{pages}/acknowledge"
    assert "this form is not from the page" in second.content()
    assert desk.rows(alerts) == before


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "You are signed in no longer"),
        (403, "Airflow does not let you answer"),
        (404, "Airflow does not ask yet, or no longer"),
        (500, "Airflow answers 500; nothing was decided"),
        (None, "No reply came. Your answer counts once and at once."),
    ],
)
def test_an_answer_that_airflow_does_not_take_is_told(second: Page, status: int | None, told: str) -> None:
    [plan] = second.request.get("/kraken-recon/api/held").json()["held"]
    second.goto(f"/kraken-recon/repair?plan={plan['plan_id']}")
    expect(second.get_by_role("button", name="Approve")).to_be_enabled()

    def refuse(route: Route) -> None:
        if route.request.method != "PATCH":
            route.continue_()
        elif status is None:
            route.abort()
        else:
            route.fulfill(status=status, json={"detail": "no"})

    second.route("**/hitlDetails", refuse)
    second.get_by_role("button", name="Approve").click()
    expect(second.get_by_text(told)).to_be_visible()
    expect(second.get_by_role("button", name="Approve")).to_be_visible(visible=status is None)


def test_a_held_repair_is_approved(page: Page, second: Page, desk: BrowserDesk) -> None:
    def bitcoins() -> Decimal:
        [row] = desk.rows(
            "select quantity from trading.positions join trading.accounts using (account_id)"
            " where name = %s and asset = 'BTC'",
            HELD,
        )
        quantity: Decimal = row["quantity"]
        return quantity

    assert bitcoins() == HELD_BITCOINS[0]
    # As on a phone, at night.
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/kraken-recon/wants")
    expect(page.get_by_role("row").filter(has_text=HELD).get_by_text("USD").first).to_be_visible()
    page.get_by_role("link", name=f"Approve or reject for {HELD}").click()
    expect(page.get_by_text(f"Set BTC by -1.5 on {HELD}?")).to_be_visible()
    expect(page.get_by_text("Value of the drift")).to_contain_text(" USD at prices of ")
    expect(page.get_by_role("button", name="Approve")).to_be_enabled()
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        assert barriers(page) == []
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "approval-390.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "the page scrolls sideways"
    for name in ("Approve", "Reject"):
        # Where a thumb finds it, without any scrolling; Playwright itself would scroll to it.
        box = page.get_by_role("button", name=name).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 844
        assert box["height"] >= 44
    second.goto(page.url)
    expect(second.get_by_role("button", name="Reject")).to_be_enabled()
    for window in (page, second):
        article = window.locator("article")
        assert article.evaluate("(a) => a.scrollWidth <= a.clientWidth"), "the case scrolls sideways"
    approve = page.get_by_role("button", name="Approve").bounding_box()
    assert approve is not None
    page.mouse.click(approve["x"] + approve["width"] / 2, approve["y"] + approve["height"] / 2)
    expect(page.get_by_text(f"Answered: Approve ({desk.login.user}).")).to_be_visible()
    second.get_by_role("button", name="Reject").click()
    first = f"Somebody else was first. Answered: Approve ({desk.login.user})."
    expect(second.get_by_text(first)).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_be_hidden()
    [plan] = desk.wait_for(
        "select p.decided_by from trading.repair_plans p join trading.accounts a using (account_id)"
        " where a.name = %s and p.kind = 'held' and p.status = 'applied'",
        HELD,
    )
    assert plan["decided_by"] == f"{desk.login.user} (Airflow)"
    assert bitcoins() == HELD_BITCOINS[1]
    # The page finds out by itself.
    expect(page.get_by_text(f"Decided by {desk.login.user} (Airflow)")).to_be_visible()


# From here on the schedule runs as well: the forms below let it.


def open_trigger_form(page: Page) -> Locator:
    """Open Airflow's form of a DAG's parameters, and choose accounts by name in it."""
    page.goto(f"/dags/{SYNC}")
    page.get_by_role("button", name="Trigger Dag").click()
    return page.get_by_role("dialog").filter(has_text="Run Parameters")


def choose_accounts(form: Locator, *names: str) -> None:
    field = form.get_by_role("group").filter(has_text="Names of the accounts to reconcile")
    field.get_by_role("textbox").fill("\n".join(names))


def test_a_sync_is_triggered_with_parameters(page: Page, desk: BrowserDesk) -> None:
    form = open_trigger_form(page)
    choose_accounts(form, "beta-staking", "gamma-earn")
    form.get_by_role("combobox", name="Mode").click()
    page.get_by_role("option", name="dry_run").click()
    form.get_by_role("button", name="Trigger", exact=True).click()
    expect(page.get_by_text("Dag Run Triggered").first).to_be_visible()
    runs = [(run["name"], run["status"]) for run in desk.wait_for(RUNS, "dry_run", "manual")]
    assert runs == [("beta-staking", "succeeded"), ("gamma-earn", "succeeded")]


def test_a_backfill_is_started(page: Page, desk: BrowserDesk) -> None:
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
    form = open_trigger_form(page)
    form.get_by_text("Backfill", exact=True).click()
    for moment in form.get_by_test_id("datetime-input").all():  # the first interval and the last
        moment.click()
        day = page.get_by_placeholder("YYYY/MM/DD").locator("visible=true")
        day.fill(f"{noon:%Y/%m/%d}")
        page.get_by_placeholder("HH:mm").locator("visible=true").fill(f"{noon:%H:%M}")
        form.get_by_text("Date Range").click()
        expect(day).to_have_count(0)  # the picker closes with a delay; the next one has the same fields
    choose_accounts(form, STATEMENT_ACCOUNT)
    # Without it, Airflow's form forgets the parameters.
    form.get_by_text("Override parameters on existing runs").click()
    expect(form.get_by_text("1 run will be triggered.")).to_be_visible()
    form.get_by_role("button", name="Run Backfill").click()
    expect(page.get_by_text("Backfill generated").first).to_be_visible()
    runs = desk.wait_for(RUNS, "repair", "backfill")
    assert runs == [
        {"name": STATEMENT_ACCOUNT, "mode": "repair", "status": "succeeded", "interval_start": noon}
    ]


def test_the_test_button_of_a_stored_key_says_what_it_may(page: Page, desk: BrowserDesk) -> None:
    [known] = [
        account for account in desk.simulator.control.get("scenario/accounts") if account["name"] == HELD
    ]
    secret = known["api_secret"]
    Caller(desk.login).call(
        "POST",
        "connections",
        {
            "connection_id": STORED_KEY,
            "conn_type": "kraken",
            "host": desk.simulator.base_url,
            "login": known["api_key"],
            "password": secret,
            "extra": '{"tier": "unlimited"}',
        },
    )
    page.goto("/connections")
    row = page.get_by_role("row").filter(has_text=STORED_KEY)
    for permissions, told in (
        (READS, "the key reads, cannot trade, and cannot withdraw"),
        ([*READS, *TRADES], "may place and cancel orders, and cannot withdraw"),
        ([*READS, "withdraw-funds"], "take away withdraw-funds"),
    ):
        desk.simulator.control.patch(f"accounts/{HELD}", {"permissions": permissions})
        with page.expect_request("**/api/v2/connections/test") as posted:
            row.get_by_role("button", name="Test Connection").click()
        # What Airflow's list makes of a port that is not there; the day it posts none, our mending can go.
        assert posted.value.post_data_json["port"] == 0
        expect(page.get_by_text(told)).to_be_visible()
        assert secret not in page.content()
    desk.simulator.control.patch(f"accounts/{HELD}", {"permissions": [*READS, *TRADES]})
