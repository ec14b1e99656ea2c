"""Every kind of ledger entry that Kraken is known to write, as rows of its API, with what they cost.

Each case happens to an account with the same books (``BASE``), counted in dollars: 10 BTC and 4 ETH at 100
each, 100 DOT at 5, 350 ICN at 2, 10 REP at 10, and 100 fee credits and 20 USDC of unknown cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kraken_recon.ledger.entry_kinds import MOVES


class Row(NamedTuple):
    """One ledger row; ``at`` is in seconds from when the case begins."""

    refid: str
    entry_type: str
    subtype: str
    asset: str
    amount: str
    fee: str = "0"
    at: int = 0


BASE: Final = (
    Row("QUSD", "deposit", "", "ZUSD", "10000"),
    Row("TBTC", "trade", "tradespot", "XXBT", "10"),
    Row("TBTC", "trade", "tradespot", "ZUSD", "-1000"),
    Row("TETH", "trade", "tradespot", "XETH", "4"),
    Row("TETH", "trade", "tradespot", "ZUSD", "-400"),
    Row("TDOT", "trade", "tradespot", "DOT", "100"),
    Row("TDOT", "trade", "tradespot", "ZUSD", "-500"),
    Row("TICN", "trade", "tradespot", "XICN", "350"),
    Row("TICN", "trade", "tradespot", "ZUSD", "-700"),
    Row("TREP", "trade", "tradespot", "XREP", "10"),
    Row("TREP", "trade", "tradespot", "ZUSD", "-100"),
    Row("QFEE", "deposit", "", "KFEE", "100"),
    Row("QUSDC", "deposit", "", "USDC", "20"),
)


@dataclass(frozen=True)
class Case:
    """What happens, the costs after it as (known, unknown, cost) by asset, and what it realises."""

    name: str
    rows: tuple[Row, ...]
    costs: dict[str, tuple[str, str, str]]
    realised: dict[str, str] = field(default_factory=dict)
    strange: str | None = None
    is_unpaired: bool = False


def two(  # noqa: PLR0913 - the parts of two rows
    kind: str,
    subtype: str,
    given: tuple[str, str],
    received: tuple[str, str],
    *,
    refids: str | tuple[str, str] = "AA",
    gap: int = 0,
) -> tuple[Row, Row]:
    """Write two legs; ``refids`` names one each, ``gap`` is in seconds."""
    one, other = (f"R{name}" if len(name) == 1 else name for name in refids)
    return Row(one, kind, subtype, *given), Row(other, kind, subtype, *received, at=gap)


def alone(kind: str, subtype: str, asset: str, amount: str, fee: str = "0") -> tuple[Row]:
    """Write a row without another leg."""
    return (Row("RA", kind, subtype, asset, amount, fee),)


UNTOUCHED: Final = {"BTC": ("10", "0", "1000"), "DOT": ("100", "0", "500"), "ETH": ("4", "0", "400")}
STAKED: Final = (
    Row("B1", "transfer", "spottostaking", "XETH", "-1"),
    Row("R1", "transfer", "stakingfromspot", "ETH2.S", "1", at=7),
)

TRADES: Final = (
    Case(
        "trade, bought, fee in quote",
        two("trade", "tradespot", ("ZUSD", "-200", "2"), ("XXBT", "1")),
        {"BTC": ("11", "0", "1202")},
    ),
    Case(
        "trade of before 2025, sold",
        two("trade", "", ("XXBT", "-2"), ("ZUSD", "300", "3")),
        {"BTC": ("8", "0", "800"), "USD": ("7597", "0", "7597")},
        {"BTC": "97"},
    ),
    Case(
        "trade, fee on both legs",
        two("trade", "tradespot", ("ZUSD", "-200", "2"), ("XXBT", "1", "0.1")),
        {"BTC": ("10.9", "0", "1202")},
    ),
    Case(
        "trade, fee in credits",
        (
            *two("trade", "tradespot", ("ZUSD", "-200"), ("XXBT", "1")),
            Row("RA", "trade", "", "KFEE", "0", "30"),
        ),
        {"BTC": ("11", "0", "1200"), "KFEE": ("0", "70", "0")},
    ),
    Case(
        "trade, one leg rounded away",
        alone("trade", "tradespot", "XXBT", "0.00000001"),
        {"BTC": ("10", "0.00000001", "1000")},
    ),
    Case(
        "trade, coin for coin",
        two("trade", "tradespot", ("XXBT", "-1"), ("XETH", "20")),
        {"BTC": ("9", "0", "900"), "ETH": ("24", "0", "500")},
    ),
    Case(
        "instant buy",
        (Row("RA", "spend", "", "ZUSD", "-200", "2"), Row("RA", "receive", "", "XXBT", "1")),
        {"BTC": ("11", "0", "1202")},
    ),
    Case(
        "dust of three assets swept",
        (
            Row("RA", "spend", "dustsweeping", "DOT", "-99", "1"),
            Row("RA", "spend", "dustsweeping", "XICN", "-350"),
            Row("RA", "spend", "dustsweeping", "XREP", "-10"),
            Row("RA", "receive", "dustsweeping", "ZUSD", "650"),
        ),
        {
            "DOT": ("0", "0", "0"),
            "ICN": ("0", "0", "0"),
            "REP": ("0", "0", "0"),
            "USD": ("7950", "0", "7950"),
        },
        {"DOT": "-250", "ICN": "-350", "REP": "-50"},
    ),
    Case(
        "dust swept with a part of unknown cost",
        (
            Row("RA", "spend", "dustsweeping", "DOT", "-100"),
            Row("RA", "spend", "dustsweeping", "USDC", "-20"),
            Row("RA", "receive", "dustsweeping", "XETH", "0.1"),
        ),
        {"DOT": ("0", "0", "0"), "USDC": ("0", "0", "0"), "ETH": ("4", "0.1", "400")},
    ),
    Case(
        "conversion under one refid",
        two("conversion", "", ("XXBT", "-1"), ("XETH", "2")),
        {"BTC": ("9", "0", "900"), "ETH": ("6", "0", "500")},
    ),
    Case("sale", two("sale", "", ("XXBT", "-1"), ("ZUSD", "150")), {"BTC": ("9", "0", "900")}, {"BTC": "50"}),
)

TRANSFERS: Final = (
    Case("deposit", alone("deposit", "", "XXBT", "1"), {"BTC": ("10", "1", "1000")}),
    Case(
        "deposit of money, with a fee",
        alone("deposit", "", "ZUSD", "100", "1"),
        {"USD": ("7399", "0", "7399")},
    ),
    Case("withdrawal", alone("withdrawal", "", "XXBT", "-0.9", "0.1"), {"BTC": ("9", "0", "900")}),
    Case(
        "withdrawal that came back",
        (
            Row("RA", "withdrawal", "", "XXBT", "-0.9", "0.1"),
            Row("TB", "trade", "tradespot", "ZUSD", "-50", at=60),
            Row("TB", "trade", "tradespot", "XXBT", "1", at=60),
            Row("RA", "withdrawal", "", "XXBT", "0.9", "-0.1", at=7200),
        ),
        {"BTC": ("11", "0", "1050")},
    ),
    Case(
        "reversal of a withdrawal that is not on file",
        alone("withdrawal", "", "XXBT", "0.9", "-0.1"),
        {"BTC": ("10", "1", "1000")},
    ),
    Case("airdrop", alone("transfer", "airdrop", "NEAR", "3"), {"NEAR": ("0", "3", "0")}),
    Case("fork", alone("transfer", "", "BCH", "3"), {"BCH": ("0", "3", "0")}),
    Case("airdrop in earning", alone("earn", "airdrop", "SGB.B", "12"), {"SGB": ("0", "12", "0")}),
    Case("to futures", alone("transfer", "spottofutures", "XXBT", "-1"), {"BTC": ("9", "0", "900")}),
    Case("from futures", alone("transfer", "spotfromfutures", "XXBT", "1"), {"BTC": ("10", "1", "1000")}),
    Case(
        "to futures and back, with a profit",
        (
            Row("RA", "transfer", "spottofutures", "XXBT", "-4"),
            Row("RB", "transfer", "spotfromfutures", "XXBT", "3", at=60),
            Row("RC", "transfer", "spotfromfutures", "XXBT", "2", at=120),
        ),
        {"BTC": ("10", "1", "1000")},
    ),
    Case(
        "delisted for money, a refid each",
        two("transfer", "delistingconversion", ("XICN", "-350"), ("ZUSD", "70"), refids="AB", gap=3),
        {"ICN": ("0", "0", "0"), "USD": ("7370", "0", "7370")},
        {"ICN": "-630"},
    ),
    Case(
        "delisted for a coin, a refid each",
        two("transfer", "delistingconversion", ("XICN", "-350"), ("XETH", "1"), refids="AB"),
        {"ICN": ("0", "0", "0"), "ETH": ("5", "0", "1100")},
    ),
    Case(
        "delisted in earning, hours apart, for a coin that was traded meanwhile",
        (
            Row("RA", "earn", "delistingconversion", "XREP", "-10"),
            Row("T1", "trade", "tradespot", "ZUSD", "-20", at=60),
            Row("T1", "trade", "tradespot", "REPV2", "10", at=60),
            Row("T2", "trade", "tradespot", "REPV2", "-10", at=120),
            Row("T2", "trade", "tradespot", "ZUSD", "30", at=120),
            Row("RB", "earn", "delistingconversion", "REPV2", "10", at=18_000),
        ),
        {"REP": ("0", "0", "0"), "REPV2": ("10", "0", "100")},
        {"REPV2": "10"},
    ),
    Case(
        "renamed by adjustments, a refid each",
        two("adjustment", "", ("XREP", "-10"), ("REPV2", "10"), refids="AB"),
        {"REP": ("0", "0", "0"), "REPV2": ("10", "0", "100")},
    ),
    Case(
        "several renamed at once: which became which is not known",
        (
            *two("adjustment", "", ("XREP", "-10"), ("XNMC", "9"), refids="AB"),
            *two("adjustment", "", ("XICN", "-350"), ("LUNC", "7"), refids="CD"),
        ),
        {
            "REP": ("0", "0", "0"),
            "NMC": ("0", "9", "0"),
            "ICN": ("0", "0", "0"),
            "LUNC": ("0", "7", "0"),
        },
        is_unpaired=True,
    ),
    Case(
        "several renamed at once, told apart by their quantities",
        (
            *two("adjustment", "", ("XREP", "-10"), ("REPV2", "10"), refids="AB"),
            *two("adjustment", "", ("XICN", "-350"), ("LUNC", "350"), refids="CD"),
        ),
        {
            "REP": ("0", "0", "0"),
            "REPV2": ("10", "0", "100"),
            "ICN": ("0", "0", "0"),
            "LUNC": ("350", "0", "700"),
        },
    ),
    Case(
        "adjustment alone",
        alone("adjustment", "", "XICN", "-350"),
        {"ICN": ("0", "0", "0")},
        is_unpaired=True,
    ),
    Case("into custody", alone("custodytransfer", "", "XXBT", "-1"), {"BTC": ("9", "0", "900")}),
    Case("money on hold", alone("deposit", "", "USD.HOLD", "10"), {"USD": ("7310", "0", "7310")}),
)

EARNINGS: Final = (
    Case(
        "staked the old way, 7 seconds and two refids apart",
        (
            Row("B1", "transfer", "spottostaking", "DOT", "-4"),
            Row("R1", "transfer", "stakingfromspot", "DOT.S", "4", at=7),
        ),
        {"DOT": ("100", "0", "500")},
    ),
    Case(
        "staked and taken back",
        (
            Row("B1", "transfer", "spottostaking", "DOT", "-4"),
            Row("R1", "transfer", "stakingfromspot", "DOT28.S", "4", at=7),
            Row("B2", "transfer", "stakingtospot", "DOT28.S", "-3", at=600),
            Row("R2", "transfer", "spotfromstaking", "DOT", "3", at=607),
        ),
        {"DOT": ("100", "0", "500")},
    ),
    Case("ether staked the old way", STAKED, {"ETH": ("3", "0", "300"), "ETH2": ("1", "0", "100")}),
    Case(
        "staked ether migrated",
        (
            *STAKED,
            *(row._replace(at=900) for row in two("earn", "migration", ("ETH2.S", "-1"), ("ETH.B", "1"))),
        ),
        {"ETH": ("4", "0", "400"), "ETH2": ("0", "0", "0")},
    ),
    Case("staking reward", alone("staking", "", "DOT.S", "0.1"), {"DOT": ("100", "0.1", "500")}),
    Case(
        "earn reward with a commission",
        alone("earn", "reward", "XBT.F", "0.002", "0.0005"),
        {"BTC": ("10", "0.0015", "1000")},
    ),
    *(Case(" ".join(kind), two(*kind, ("XXBT", "-1"), ("XBT.F", "1")), UNTOUCHED) for kind in sorted(MOVES)),
    Case(
        "migrated under two refids",
        two("earn", "migration", ("DOT", "-4"), ("DOT.P", "4"), refids="AB"),
        UNTOUCHED,
    ),
    Case(
        "withdrawn out of a hybrid earning",
        two("hybridearnwithdrawal", "", ("XXBT", "-1"), ("XBT.M", "1")),
        UNTOUCHED,
    ),
    Case(
        "to a vault and back, with a yield",
        (
            Row("FA", "hybridearnwithdrawal", "", "XXBT", "-4"),
            Row("FB", "hybridearndeposit", "", "XXBT", "4.5", at=3600),
        ),
        {"BTC": ("10", "0.5", "1000")},
    ),
    Case("into a vault", alone("hybridearnwithdrawal", "", "XXBT", "-4"), {"BTC": ("6", "0", "600")}),
    Case(
        "out of a vault that is not on file",
        alone("hybridearndeposit", "", "XXBT", "1"),
        {"BTC": ("10", "1", "1000")},
    ),
    Case(
        "migrated without a name, and a reward after a sale",
        (
            *two("earn", "", ("XXBT", "-10"), ("XBT.B", "10"), refids=("Unknown", "Unknown")),
            *(row._replace(at=60) for row in two("earn", "deallocation", ("XBT.B", "-10"), ("XXBT", "10"))),
            Row("TS", "trade", "", "XXBT", "-10", at=120),
            Row("TS", "trade", "", "ZUSD", "1200", at=120),
            Row("Unknown", "earn", "", "XBT.B", "1", at=180),
        ),
        {"BTC": ("0", "1", "0")},
        {"BTC": "200"},
    ),
    Case("dividend", alone("dividend", "", "XXBT", "1"), {"BTC": ("10", "1", "1000")}),
    Case("reward", alone("reward", "", "XXBT", "1"), {"BTC": ("10", "1", "1000")}),
    Case("invite bonus", alone("invite bonus", "", "XXBT", "1"), {"BTC": ("10", "1", "1000")}),
    Case("credit", alone("credit", "", "ZUSD", "5"), {"USD": ("7305", "0", "7305")}),
    Case("none", alone("none", "", "XXBT", "1"), {"BTC": ("10", "1", "1000")}),
)

MARGIN: Final = (
    Case("margin position opened", alone("margin", "", "ZUSD", "0", "2"), {"USD": ("7298", "0", "7298")}),
    Case(
        "margin position closed with a gain",
        alone("margin", "", "ZUSD", "50", "2"),
        {"USD": ("7348", "0", "7348")},
    ),
    Case(
        "margin position closed with a loss",
        alone("margin", "", "ZUSD", "-50", "2"),
        {"USD": ("7248", "0", "7248")},
    ),
    Case(
        "rolled over, under the refid of the opening",
        (Row("TP", "margin", "", "ZUSD", "0", "2"), Row("TP", "rollover", "", "ZUSD", "0", "1", at=14400)),
        {"USD": ("7297", "0", "7297")},
    ),
    Case(
        "settled long",
        two("settled", "", ("ZUSD", "-200"), ("XXBT", "1")),
        {"BTC": ("11", "0", "1200"), "USD": ("7100", "0", "7100")},
    ),
    Case(
        "settled short",
        two("settled", "", ("XXBT", "-1"), ("ZUSD", "150")),
        {"BTC": ("9", "0", "900")},
        {"BTC": "50"},
    ),
    Case(
        "collateral converted for a fee and a loss",
        (
            *two("collateralconversion", "", ("ZUSD", "-7"), ("EURC", "7")),
            Row("RA", "margin", "", "EURC", "-5", "2"),
        ),
        {"EURC": ("0", "0", "0"), "USD": ("7293", "0", "7293")},
    ),
    Case(
        "more collateral converted than was taken",
        (
            *two("collateralconversion", "", ("ZUSD", "-10"), ("EURC", "10")),
            Row("RA", "margin", "", "EURC", "-4", "1", at=1),
        ),
        {"EURC": ("5", "0", "5"), "USD": ("7290", "0", "7290")},
    ),
)

COLLECTIBLES: Final = (
    Case("collectible bought", alone("nfttrade", "", "ZUSD", "-50"), {"USD": ("7250", "0", "7250")}),
    Case("fee to a creator", alone("nftcreatorfee", "", "ZUSD", "-1"), {"USD": ("7299", "0", "7299")}),
    Case("rebate", alone("nftrebate", "", "ZUSD", "1"), {"USD": ("7301", "0", "7301")}),
)

STRANGE: Final = (
    Case(
        "a type that is not known",
        alone("moonshot", "lunar", "XXBT", "1", "0.1"),
        {"BTC": ("10", "0.9", "1000")},
        strange="moonshot/lunar",
    ),
    Case(
        "a subtype that is not known",
        two("earn", "teleport", ("XXBT", "-1"), ("XBT.F", "1")),
        UNTOUCHED,
        strange="earn/teleport",
    ),
    Case(
        "a wallet that is not known",
        alone("deposit", "", "DOT.Q", "5"),
        {"DOT.Q": ("0", "5", "0"), "DOT": ("100", "0", "500")},
        strange="DOT.Q (a wallet that is not known here)",
    ),
    Case(
        "an asset that Assets does not list", alone("deposit", "", "LUNA2", "5"), {"LUNA2": ("0", "5", "0")}
    ),
    Case("a tokenized wallet", alone("deposit", "", "AAPLx.T", "5"), {"AAPLx": ("0", "5", "0")}),
)

CASES: Final = (*TRADES, *TRANSFERS, *EARNINGS, *MARGIN, *COLLECTIBLES, *STRANGE)
