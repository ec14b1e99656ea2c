"""The pages as people see them: one table of what is looked at, and of what is kept as a picture."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

Theme = Literal["light", "dark"]
THEMES: Final[tuple[Theme, ...]] = ("light", "dark")
# The width of a window in pixels, and how much of a page's height a picture keeps.
WIDTHS: Final = {1280: 1300, 390: 1500}
# Enough for every colour of the style sheet to stay what it is.
COLOURS: Final = 256
STATEMENT_ACCOUNT: Final = "alpha-market-making"


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: its name in docs/images, its address, and its heading."""

    name: str
    path: str
    heading: str


PAGES: Final = (
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


def look(page: Page, shown: Shown, theme: Theme) -> None:
    """Open a page in a theme, and wait until it is drawn."""
    page.emulate_media(color_scheme=theme)
    page.goto(shown.path)
    page.get_by_role("heading", name=shown.heading, level=1).wait_for()


def keep_picture(page: Page, file: Path, *, height: int) -> None:
    """Keep the top of a page as a small PNG."""
    shot = page.screenshot(full_page=True, animations="disabled")
    with Image.open(io.BytesIO(shot)) as image:
        top = image.convert("RGB").crop((0, 0, image.width, min(image.height, height)))
        few = top.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(file, optimize=True)
