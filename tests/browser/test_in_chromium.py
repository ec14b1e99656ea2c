"""What people do with this project in their browser, and what came of it in the database."""

from __future__ import annotations

import base64
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from browser_desk import HELD, HELD_BITCOINS, SYNC, Caller
from browser_pages import PAGES, STATEMENT_ACCOUNT, THEMES, WIDTHS, keep_picture, look
from chromium import barriers
from kraken_recon.domain.money import format_amount

if TYPE_CHECKING:
    from decimal import Decimal

    from playwright.sync_api import Browser, Locator, Page

    from browser_desk import BrowserDesk
    from browser_pages import Shown, Theme

pytestmark = pytest.mark.timeout(300)
STORED_KEY = "kraken_stored"
READS = ["query-funds", "query-ledger", "query-open-trades", "query-closed-trades"]
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
def test_every_page_is_open_to_everybody(page: Page, shown: Shown, theme: Theme) -> None:
    look(page, shown, theme)
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": 900})
        if PICTURES:
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


def test_nobody_sees_a_page_before_signing_in(browser: Browser, desk: BrowserDesk) -> None:
    stranger = browser.new_context(base_url=desk.login.url)
    assert {stranger.request.get(shown.path).status for shown in PAGES} == {401}
    stranger.close()


def test_the_pages_stand_in_the_navigation_and_beside_the_dag(page: Page) -> None:
    page.goto(f"/dags/{SYNC}")
    page.locator(f"a[href='/dags/{SYNC}/plugin/positions-of-dag']").click()
    inside = page.frame_locator("iframe")
    expect(inside.get_by_role("heading", name="Is everything accounted for?", level=1)).to_be_visible()
    page.locator("a[href='/plugin/positions']").click()
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


def test_a_held_repair_is_approved(page: Page, desk: BrowserDesk) -> None:
    def bitcoins() -> Decimal:
        [row] = desk.rows(
            "select quantity from trading.positions join trading.accounts using (account_id)"
            " where name = %s and asset = 'BTC'",
            HELD,
        )
        quantity: Decimal = row["quantity"]
        return quantity

    assert bitcoins() == HELD_BITCOINS[0]
    page.goto("/kraken-recon/wants")
    page.get_by_role("link", name=f"Approve or reject for {HELD}").click()
    expect(page.get_by_text(f"Set BTC by -1.5 on {HELD}?")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    [plan] = desk.wait_for(
        "select p.decided_by from trading.repair_plans p join trading.accounts a using (account_id)"
        " where a.name = %s and p.kind = 'held' and p.status = 'applied'",
        HELD,
    )
    assert plan["decided_by"] == f"{desk.login.user} (Airflow)"
    assert bitcoins() == HELD_BITCOINS[1]


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
        page.get_by_placeholder("YYYY/MM/DD").locator("visible=true").fill(f"{noon:%Y/%m/%d}")
        page.get_by_placeholder("HH:mm").locator("visible=true").fill(f"{noon:%H:%M}")
        form.get_by_text("Date Range").click()
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
    secret = base64.b64encode(HELD.encode().ljust(64)).decode()
    Caller(desk.login).call(
        "POST",
        "connections",
        {
            "connection_id": STORED_KEY,
            "conn_type": "kraken",
            "host": desk.simulator.base_url,
            "login": HELD,
            "password": secret,
            "extra": '{"tier": "unlimited"}',
        },
    )
    page.goto("/connections")
    row = page.get_by_role("row").filter(has_text=STORED_KEY)
    for permissions, told in (
        (READS, "the key reads, cannot trade, and cannot withdraw"),
        ([*READS, "modify-trades", "close-trades"], "may place and cancel orders, and cannot withdraw"),
        ([*READS, "withdraw-funds"], "take away withdraw-funds"),
    ):
        desk.simulator.control.patch(f"accounts/{HELD}", {"permissions": permissions})
        with page.expect_request("**/api/v2/connections/test") as posted:
            row.get_by_role("button", name="Test Connection").click()
        # What Airflow's list makes of a port that is not there; the day it posts none, our mending can go.
        assert posted.value.post_data_json["port"] == 0
        expect(page.get_by_text(told)).to_be_visible()
        assert secret not in page.content()
    desk.simulator.control.patch(f"accounts/{HELD}", {"permissions": READS})
