"""The pages as people see them: those that are kept as pictures, and all the others."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse
from PIL import Image

from desks.page_routes import every_route, required

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from desks.browser import BrowserDesk

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
# The width of a window in pixels, and how much of a page's height a picture keeps.
WIDTHS: Final = {1280: 1300, 390: 1500}
# Enough for every colour of the style sheet to stay what it is.
COLOURS: Final = 256
STATEMENT_ACCOUNT: Final = "alpha-market-making"
DASHBOARD: Final = "/kraken-recon"
# What a page that is of something asks for, by the name of its parameter.
EXAMPLES: Final = {
    "name": f"select '{STATEMENT_ACCOUNT}'",
    "account": f"select '{STATEMENT_ACCOUNT}'",
    "asset": "select 'BTC'",
    "id": "select min(order_id) from trading.order_verifications where verdict = 'mismatch'",
    "plan": "select plan_id from trading.repair_plans where kind = 'held' order by created_at limit 1",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: its name, which its picture in docs/images has too, its address, and how its heading begins.

    ``asked`` are the parameters whose values only the desk knows.
    """

    name: str
    path: str
    heading: str = ""
    asked: tuple[str, ...] = ()

    def address(self, desk: BrowserDesk) -> str:
        """Write the address of the page on a desk."""
        values = {name: value for name in self.asked for value in desk.rows(EXAMPLES[name])[0].values()}
        return f"{self.path}?{urlencode(values)}" if values else self.path


PICTURED: Final = (
    Shown("positions", "/kraken-recon/", "Is everything accounted for?"),
    Shown("differences", "/kraken-recon/differences", "What differed?"),
    Shown("wants", "/kraken-recon/wants", "What wants me?"),
    Shown("orders", "/kraken-recon/orders", "Do my orders do what they say?"),
    Shown("database", "/kraken-recon/database", "Is the database healthy?"),
    Shown(
        "account",
        f"/kraken-recon/account?name={STATEMENT_ACCOUNT}",
        f"Account {STATEMENT_ACCOUNT}",
    ),
    Shown(
        "statement",
        f"/kraken-recon/statement?account={STATEMENT_ACCOUNT}&asset=BTC",
        f"Statement of BTC, account {STATEMENT_ACCOUNT}",
    ),
)


def _others() -> tuple[Shown, ...]:
    known = {shown.path.removeprefix(DASHBOARD).partition("?")[0] for shown in PICTURED}
    return tuple(
        Shown(path.strip("/"), DASHBOARD + path, asked=tuple(required(route)))
        for path, route in sorted(every_route().items())
        if route.response_class is HTMLResponse and path not in known
    )


PAGES: Final = (*PICTURED, *_others())
"""Whatever answers with a page."""


def look(page: Page, shown: Shown, theme: Theme, desk: BrowserDesk) -> None:
    """Open a page in a theme, and wait until it is drawn."""
    page.emulate_media(color_scheme=theme)
    page.goto(shown.address(desk))
    page.get_by_role("heading", level=1).filter(has_text=shown.heading).wait_for()


def keep_picture(page: Page, file: Path, *, height: int) -> None:
    """Keep the top of a page as a small PNG."""
    shot = page.screenshot(full_page=True, animations="disabled")
    with Image.open(io.BytesIO(shot)) as image:
        top = image.convert("RGB").crop((0, 0, image.width, min(image.height, height)))
        few = top.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
