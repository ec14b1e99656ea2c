"""Asset names: Kraken's spelling to ours.

Invariants:
1. Legacy ids (``XXBT``, ``ZEUR``) are a closed list kept as data; no letter is ever stripped, so that
   ``XTZ``, ``XCN`` or ``ZRX`` stay what they are.
2. Parsing is idempotent: a normalised name, or ``str()`` of a holding key, parses to itself.
3. A code that is not known here passes unchanged, as an asset of its own in the spot wallet.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.entries import SPOT, TOKENIZED, HoldingKey

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKENIZED_CLASS: Final = "tokenized_asset"
LEGACY_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "XXBT": "BTC",
        "XBT": "BTC",
        "XXDG": "DOGE",
        "XDG": "DOGE",
        "XDAO": "DAO",
        "XETC": "ETC",
        "XETH": "ETH",
        "XICN": "ICN",
        "XLTC": "LTC",
        "XMLN": "MLN",
        "XNMC": "NMC",
        "XREP": "REP",
        "XSTR": "STR",
        "XXLM": "XLM",
        "XXMR": "XMR",
        "XXRP": "XRP",
        "XXVN": "XVN",
        "XZEC": "ZEC",
        "ZAUD": "AUD",
        "ZCAD": "CAD",
        "ZEUR": "EUR",
        "ZGBP": "GBP",
        "ZJPY": "JPY",
        "ZKRW": "KRW",
        "ZUSD": "USD",
        # Kraken's fee credits; their altname "FEE" is too plain a word to keep.
        "FEE": "KFEE",
    }
)
"""Kraken's legacy ids and ``X..`` altnames. Newer assets carry no prefix, so the list only shrinks."""

# What Kraken's markets quote in, as its list of pairs says; nothing else has a price there.
QUOTE_CURRENCIES: Final = (
    *("USD", "EUR", "GBP", "AUD", "CAD", "CHF", "JPY", "USDC", "USDT", "BTC", "ETH", "SOL", "DAI", "PYUSD"),
    *("RLUSD", "USD1", "USDD", "USDG", "USDQ", "USDR", "EUROP", "EURQ", "EURR"),
)

STATE_CURRENCIES: Final = ("USD", "EUR", "GBP", "AUD", "CAD", "CHF", "JPY", "KRW", "AED")
"""Money of states that Kraken trades, or traded; all else is crypto, stablecoins included."""

# Kraken's wallet suffixes: .S staked, .M opt-in rewards, .B bonded, .F auto-earn, .P parachain, .T tokenized,
# .HOLD fiat on hold. A two-digit number before .S or .B is a bonding term of 1 to 28 days (DOT28.S); a larger
# number (C98, BANANAS31) belongs to the asset's own name.
_WALLET = re.compile(
    r"(?P<asset>.*[^.\d])\.?(?P<term>(?:0[1-9]|1\d|2[0-8])\.[SB])|(?P<plain>.+)\.(?P<suffix>S|M|B|F|P|T|HOLD)"
)


# Tens of thousands of rows name a few hundred codes.
@lru_cache(maxsize=4_096)
def parse_kraken_code(code: str, asset_class: str = "") -> HoldingKey:
    """Read an asset code in any of Kraken's spellings: id, altname or export name.

    Ledgers name a tokenized asset by its class, balances by a suffix.
    """
    match = _WALLET.fullmatch(code)
    if match is None:
        wallet = TOKENIZED if asset_class == TOKENIZED_CLASS else SPOT
        return HoldingKey(LEGACY_NAMES.get(code, code), wallet)
    asset = match["asset"] or match["plain"]
    return HoldingKey(LEGACY_NAMES.get(asset, asset), match["term"] or match["suffix"])
