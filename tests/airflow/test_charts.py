"""The charts in a real browser, under the policy that the pages are served with."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from fastapi.testclient import TestClient
from jinja2 import Environment, FileSystemLoader
from playwright.sync_api import expect, sync_playwright

from desks.order_rows import HOSTILE
from kraken_airflow.dashboard.app import create_app
from kraken_airflow.dashboard.charts import chart
from kraken_airflow.dashboard.inline_files import PLACE, chart_scripts, page_script, page_style, script_tags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

URL: Final = "https://pages.test/"
NOON: Final = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
TEMPLATE: Final = """
{%- extends "page.html" %}{% from "chart.html" import figure %}
{% block content %}{% for one in charts %}{{ figure(one) }}{% endfor %}{% endblock %}
{% block scripts %}{{ chart_scripts() }}{% endblock %}
"""


def page_of_charts() -> str:
    """Write a page with lines over ten hours and with bars."""
    templates = Environment(loader=FileSystemLoader(PLACE / "templates"), autoescape=True)
    times = [NOON + n * timedelta(hours=1) for n in range(11)]
    return templates.from_string(TEMPLATE).render(
        style=page_style(),
        page_script=lambda: script_tags(page_script()),
        chart_scripts=lambda: script_tags(*chart_scripts()),
        charts=[
            chart(HOSTILE, HOSTILE, times, [("orders", list(range(11))), (HOSTILE, [None] * 5 + [7] * 6)]),
            chart("Bars", "orders", ["better", HOSTILE], [("buy", [1, 2]), ("sell", [3, 0])]),
        ],
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Yield a Chromium; without one skip, but fail in CI."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield started
        started.close()


@pytest.fixture(scope="module")
def policy() -> str:
    """Return what the pages are served with; whoever is not logged in is told the same."""
    return str(TestClient(create_app()).get("/").headers["content-security-policy"])


@pytest.fixture
def page(browser: Browser, policy: str) -> Iterator[Page]:
    """Yield the page, which must end without a complaint of the browser."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.route(
        "**/*",
        lambda route: route.fulfill(
            body=page_of_charts() if route.request.url == URL else "",
            content_type="text/html; charset=utf-8",
            headers={"Content-Security-Policy": policy},
        ),
    )
    page.goto(URL)
    yield page
    context.close()
    assert complaints == []


def point_at(page: Page, share: float, chart_number: int = 0) -> None:
    """Move the pointer over a chart, this share of its width from the left."""
    box = page.locator(".drawing .u-over").nth(chart_number).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + share * (box["width"] - 2) + 1, box["y"] + box["height"] / 2)


def pixels_of(page: Page, colour: str) -> int:
    """Count the pixels of the first chart that have a colour of the style sheet."""
    count: int = page.evaluate(
        """(name) => {
          const canvas = document.querySelector("canvas");
          const probe = document.createElement("p");
          probe.style.color = `var(${name})`;
          document.body.append(probe);
          const wanted = getComputedStyle(probe).color.match(/\\d+/g).map(Number);
          probe.remove();
          const seen = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
          let count = 0;
          for (let at = 0; at < seen.length; at += 4) {
            if (wanted.every((value, place) => seen[at + place] === value)) count += 1;
          }
          return count;
        }""",
        colour,
    )
    return count


def test_the_legend_says_the_value_under_the_pointer(page: Page) -> None:
    legend = page.locator(".legend").first
    expect(legend.locator(".value").first).to_have_text("10, between 0 and 10")
    point_at(page, 0.3)
    expect(legend.locator(".pointed")).to_have_text("2026-01-05 15:00 UTC")
    assert legend.locator(".value").all_text_contents() == ["3", "-"]
    point_at(page, 0.75, chart_number=1)
    bars = page.locator(".legend").nth(1)
    expect(bars.locator(".pointed")).to_have_text(HOSTILE)
    assert bars.locator(".value").all_text_contents() == ["2", "0"]
    expect(legend.locator(".value").first).to_have_text("10, between 0 and 10")
    assert legend.locator(".pointed").text_content() == ""


def test_a_part_is_looked_at_by_dragging_or_by_a_button(page: Page) -> None:
    pointed = page.locator(".pointed").first
    point_at(page, 0.5)
    page.mouse.down()
    point_at(page, 0.8)
    page.mouse.up()
    point_at(page, 0)
    expect(pointed).to_have_text("2026-01-05 17:00 UTC")
    page.get_by_role("button", name="Show all").first.click()
    point_at(page, 0)
    expect(pointed).to_have_text("2026-01-05 12:00 UTC")
    page.get_by_role("button", name="Newest half").first.focus()
    page.keyboard.press("Enter")
    point_at(page, 0)
    expect(pointed).to_have_text("2026-01-05 17:00 UTC")


def test_colours_follow_the_theme(page: Page) -> None:
    assert pixels_of(page, "--line1") > 500
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("getComputedStyle(document.body).backgroundColor === 'rgb(18, 22, 27)'")
    assert pixels_of(page, "--line1") > 500
    page.emulate_media(color_scheme="light")


def test_a_chart_is_as_wide_as_a_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function("document.querySelector('canvas').getBoundingClientRect().width < 390")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert pixels_of(page, "--line1") > 100


def test_who_does_not_see_a_chart_is_told_what_it_shows(page: Page) -> None:
    canvas = page.get_by_role("img").nth(1)
    expect(canvas).to_have_attribute("aria-label", "Bars, in orders: buy: 3 in all; sell: 3 in all")
    page.get_by_text("Values of Bars").click()
    region = page.get_by_role("region", name="Values of Bars")
    assert region.get_by_role("row").nth(2).inner_text().split("\t") == [HOSTILE, "2", "0"]


def test_without_scripts_the_values_are_there(browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.route("**/*", lambda route: route.fulfill(body=page_of_charts(), content_type="text/html"))
    page.goto(URL)
    expect(page.locator(".drawing").first).to_be_hidden()
    expect(page.get_by_role("button")).to_have_count(0)
    page.locator("summary").first.click()
    expect(page.get_by_role("region").first.get_by_role("row")).to_have_count(12)
    context.close()
