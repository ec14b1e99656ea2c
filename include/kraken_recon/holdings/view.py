"""An account's holdings and their worth over time, as lines for people."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.holdings.pricing import money_words
from kraken_recon.values.money import ZERO, exact_arithmetic, format_amount

if TYPE_CHECKING:
    from collections.abc import Mapping

BAR_WIDTH: Final = 30


def render_holdings(view: Mapping[str, Any]) -> list[str]:
    """Write the assets, their sum, and the curve with a bar to each snapshot."""
    quote = view["quote_currency"]
    lines = [f"{view['account']}: {money_words(view['value'])} {quote} at {view['as_of']}"]
    lines += [
        f"  {asset['asset']:<10} {asset['quantity']:>30}  "
        + ("no price" if asset["value"] is None else f"{money_words(asset['value'])} {quote}")
        + _rebased_words(asset)
        for asset in view["assets"]
    ]
    if view["unpriced"]:
        lines.append(f"  {view['unpriced']} without a price are missing from the sum")
    if view["elsewhere"]:
        lines += [
            "",
            "not in the sum: went to products of Kraken's that no balance shows, and not back",
        ]
        lines += [
            f"  {row['asset']:<10} {row['quantity']:>30}  "
            + ("no price" if row["value"] is None else f"{money_words(row['value'])} {quote}")
            + f", {row['place']}"
            for row in view["elsewhere"]
        ]
    if view["curve"]:
        most = max((Decimal(row["value"]) for row in view["curve"] if row["value"]), default=ZERO)
        lines += ["", "over time"]
        lines += [_line(row, most) for row in view["curve"]]
    return lines


@exact_arithmetic()
def _rebased_words(asset: Mapping[str, Any]) -> str:
    """Say what Kraken's own pages show of a tokenized asset, where splits or dividends changed its units."""
    factor = Decimal(asset["rebase_factor"] or 1)
    if factor == 1:
        return ""
    shown = format_amount(Decimal(asset["quantity"]) * factor)
    return f"; Kraken's pages show {shown}: times {asset['rebase_factor']}, for splits and dividends"


def _line(row: Mapping[str, Any], most: Decimal) -> str:
    if row["value"] is None:
        return f"  {row['taken_at'][:16]}  {'not proven':>20}"
    value = Decimal(row["value"])
    worth = f"{money_words(row['value']):>20} {row['quote_currency']}"
    return f"  {row['taken_at'][:16]}  {worth}  {_bar(value, most)}"


def _bar(value: Decimal, most: Decimal) -> str:
    return "#" * int(value / most * BAR_WIDTH) if most > ZERO and value > ZERO else ""
