"""The demo: eight desks with a week of history, ordinary days, and a second act.

Invariant: everything follows from the exchange's seed and the time at which it is loaded.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.account import events
from kraken_sim.amounts import TENTH_MILLISECOND, ZERO, half_up
from kraken_sim.errors import ControlError
from kraken_sim.http.auth import READ_PERMISSIONS
from kraken_sim.market import matching, trading

if TYPE_CHECKING:
    from collections.abc import Callable

    from kraken_sim.account.account import Account
    from kraken_sim.exchange import Exchange

DAY: Final = Decimal(86400)
HISTORY_DAYS: Final = 7
#: The market maker's idle dollars earn once a day, between its trades.
REWARD_EVERY: Final = 13
#: How many calls the silent desk leaves unanswered.
SILENT_CALLS: Final = 5


@dataclass(frozen=True, slots=True)
class Desk:
    """One account of the demo."""

    name: str
    quote_currency: str
    description: str
    opening: dict[str, str]
    history: Callable[[Exchange, Account], None]
    day: Callable[[Exchange, Account], None]
    next_act: Callable[[Exchange, Account], None]


@dataclass(slots=True)
class Diary:
    """Times of past events: from a week ago towards now, in even steps."""

    moment: Decimal
    step: Decimal

    def next(self) -> Decimal:
        """Move on and tell the time."""
        self.moment = (self.moment + self.step).quantize(TENTH_MILLISECOND)
        return self.moment


def _diary(account: Account, steps: int) -> Diary:
    now = account.clock.now()
    start = now - HISTORY_DAYS * DAY
    return Diary(start, (now - Decimal(300) - start) / steps)


def _past_trade(  # noqa: PLR0913 - the parts of one trade
    account: Account,
    pair_name: str,
    side: str,
    volume: Decimal,
    *,
    at: Decimal | None = None,
    fee_mode: trading.FeeMode = "quote",
) -> None:
    pair = account.reference.pair(pair_name)
    drift = Decimal(account.identifiers.random.randint(-200, 200)) / 10000
    price = half_up(account.reference.prices[pair.pair_id] * (1 + drift), pair.price_decimals)
    request = trading.OrderRequest(
        pair=pair, side="buy" if side == "buy" else "sell", order_type="limit", volume=volume, price=price
    )
    order = trading.draft(account, request, at)
    order.order_id, order.source = account.identifiers.order(), "website"
    account.orders[order.order_id] = order
    trading.execute(account, order, trading.Execution(volume, price, fee_mode=fee_mode), at)


def _no_event(exchange: Exchange, account: Account) -> None:
    """Nothing happens here."""


def _market_making(exchange: Exchange, account: Account) -> None:
    del exchange
    diary = _diary(account, 90)
    for number in range(90):
        pair = ("XBTUSD", "ETHUSD", "SOLUSD", "XDGUSD", "ETHXBT")[number % 5]
        volume = {"XBTUSD": "0.02", "ETHUSD": "0.4", "SOLUSD": "6", "XDGUSD": "5000", "ETHXBT": "0.5"}[pair]
        scale = Decimal(account.identifiers.random.randint(50, 150)) / 100
        side = account.identifiers.random.choice(("buy", "sell"))
        mode: trading.FeeMode = "base" if number % 4 == 0 else "quote"
        _past_trade(account, pair, side, half_up(Decimal(volume) * scale, 8), at=diary.next(), fee_mode=mode)
        if number % REWARD_EVERY == REWARD_EVERY - 1:
            events.earn_reward(account, "USDG.F", _about(account, "0.51"), at=diary.moment)


def _more_market_making(exchange: Exchange, account: Account) -> None:
    _past_trade(account, "XBTUSD", "buy", Decimal("0.031"))
    _past_trade(account, "ETHUSD", "sell", Decimal("0.75"))
    _past_trade(account, "SOLUSD", "buy", Decimal("4.2"), fee_mode="base")
    events.earn_reward(account, "USDG.F", _about(account, "0.51"))
    pair = exchange.reference.pair("XBTUSD")
    price = half_up(exchange.reference.prices[pair.pair_id] * Decimal("0.97"), pair.price_decimals)
    matching.place(
        account, exchange.reference, trading.OrderRequest(pair, "buy", "limit", Decimal("0.05"), price)
    )


def _day_of_market_making(exchange: Exchange, account: Account) -> None:
    del exchange
    random = account.identifiers.random
    for pair, volume in (("XBTUSD", "0.02"), ("ETHUSD", "0.4"), ("SOLUSD", "6")):
        side = random.choice(("buy", "sell"))
        _past_trade(account, pair, side, half_up(Decimal(volume) * random.randint(50, 150) / 100, 8))


def _staking(exchange: Exchange, account: Account) -> None:
    del exchange
    diary = _diary(account, 2 + 2 * HISTORY_DAYS)
    events.legacy_stake(account, source="DOT", target="DOT.S", amount=Decimal(400), at=diary.next())
    events.legacy_stake(account, source="ATOM", target="ATOM.S", amount=Decimal(150), at=diary.next())
    for _ in range(HISTORY_DAYS):
        events.staking_reward(account, "DOT.S", _about(account, "0.1312"), at=diary.next())
        events.staking_reward(account, "ATOM.S", _about(account, "0.0612"), at=diary.next())


def _more_staking(exchange: Exchange, account: Account) -> None:
    del exchange
    events.staking_reward(account, "DOT.S", _about(account, "0.1312"))
    events.staking_reward(account, "ETH2.S", _about(account, "0.0021"))


def _day_of_staking(exchange: Exchange, account: Account) -> None:
    del exchange
    events.staking_reward(account, "DOT.S", _about(account, "0.1312"))
    events.staking_reward(account, "ATOM.S", _about(account, "0.0612"))


def _earn(exchange: Exchange, account: Account) -> None:
    del exchange
    diary = _diary(account, 4 + 2 * HISTORY_DAYS)
    for source, target, amount in (
        ("XXBT", "XBT.F", "1.25"),
        ("USDG", "USDG.F", "9000"),
        ("SOL", "SOL.F", "80"),
    ):
        events.earn_move(
            account,
            source=source,
            target=target,
            amount=Decimal(amount),
            subtype="allocation",
            at=diary.next(),
        )
    for _ in range(HISTORY_DAYS):
        events.earn_reward(account, "USDG.F", _about(account, "0.91"), at=diary.next())
        events.earn_reward(
            account, "SOL.F", _about(account, "0.0104"), _about(account, "0.0021"), at=diary.next()
        )
    _offer(account, "USDGUSD", "2937", "1.05")


def _more_earn(exchange: Exchange, account: Account) -> None:
    del exchange
    events.earn_reward(account, "USDG.F", _about(account, "0.91"))
    events.earn_move(account, source="SOL.F", target="SOL", amount=Decimal(10), subtype="deallocation")
    _past_trade(account, "SOLUSD", "sell", Decimal("7.5"))


def _day_of_earn(exchange: Exchange, account: Account) -> None:
    del exchange
    events.earn_reward(account, "USDG.F", _about(account, "0.91"))
    events.earn_reward(account, "SOL.F", _about(account, "0.0104"), _about(account, "0.0021"))


def _treasury(exchange: Exchange, account: Account) -> None:
    diary = _diary(account, 12)
    del exchange
    events.deposit(account, "ZEUR", Decimal(250000), at=diary.next())
    events.deposit(account, "XXBT", Decimal("1.75"), at=diary.next())
    events.withdrawal(account, "ZEUR", Decimal(40000), Decimal("0.09"), at=diary.next())
    events.withdrawal(account, "XXBT", Decimal("0.4"), Decimal("0.00002"), at=diary.next())
    events.withdrawal_reversed(account, "USDC", Decimal(5000), Decimal(4), at=diary.next())
    events.instant_buy(
        account,
        spend=("ZEUR", Decimal(5500)),
        receive=("XETH", Decimal("1.98")),
        fee=Decimal("54.45"),
        at=diary.next(),
    )
    events.dust_sweep(account, ["ADA", "XTZ"], ("ZEUR", Decimal("0.0412")), at=diary.next())
    events.deposit(account, "USDT", Decimal(30000), at=diary.next())
    events.airdrop(account, "NEAR", Decimal("12.5"), at=diary.next())


def _more_treasury(exchange: Exchange, account: Account) -> None:
    del exchange
    events.deposit(account, "ZEUR", Decimal(75000))
    events.withdrawal_reversed(account, "USDT", Decimal(2500), Decimal(4))
    events.withdrawal(account, "XXBT", Decimal("0.25"), Decimal("0.00002"))
    events.instant_buy(
        account, spend=("ZEUR", Decimal(1100)), receive=("XETH", Decimal("0.39")), fee=Decimal("10.89")
    )


def _day_of_treasury(exchange: Exchange, account: Account) -> None:
    del exchange
    amount = Decimal(account.identifiers.random.randint(2000, 9000))
    if account.identifiers.random.randint(0, 2):
        events.deposit(account, "ZEUR", amount)
    else:
        events.withdrawal(account, "ZEUR", amount, Decimal("0.09"))


def _quiet(exchange: Exchange, account: Account) -> None:
    del exchange
    diary = _diary(account, 4)
    events.deposit(account, "ZGBP", Decimal(1000), at=diary.next())
    _past_trade(account, "XBTGBP", "buy", Decimal("0.01"), at=diary.next())


def _silent(exchange: Exchange, account: Account) -> None:
    _quiet(exchange, account)
    for name, options in (("http_error", {"status": 503}), ("slow", {"seconds": "0.2"})):
        exchange.faults.add(
            name=name,
            probability=Decimal(1),
            count=SILENT_CALLS,
            endpoint=None,
            account=account.name,
            options=dict(options),
        )


def _about(account: Account, amount: str) -> Decimal:
    return Decimal(amount) * Decimal(account.identifiers.random.randint(900, 1100)) / 1000


def _offer(account: Account, pair_name: str, volume: str, price: str) -> None:
    """Leave a sell order on the book."""
    pair = account.reference.pair(pair_name)
    request = trading.OrderRequest(pair, "sell", "limit", Decimal(volume), Decimal(price))
    order = trading.draft(account, request)
    order.order_id = account.identifiers.order()
    account.orders[order.order_id] = order


#: What the market maker holds and does not trade.
IDLE: Final = dict.fromkeys(("XLTC", "XXMR", "XETC", "AVAX"), "60") | dict.fromkeys(
    ("XXRP", "ADA", "ATOM", "DOT", "LINK", "NEAR", "TRX", "XTZ"), "900"
)
DESKS: Final = (
    Desk(
        "alpha-market-making",
        "USD",
        "Many small fills, fees in quote and in base, resting orders; a bot keeps a book of it",
        {
            "ZUSD": "180000",
            "XXBT": "2.5",
            "XETH": "40",
            "SOL": "500",
            "XXDG": "400000",
            "KFEE": "0",
            "USDG": "5000",
            **IDLE,
        },
        _market_making,
        _day_of_market_making,
        _more_market_making,
    ),
    Desk(
        "beta-staking",
        "EUR",
        "On-chain staking with daily rewards on the staked balance",
        {"ZEUR": "12000", "DOT": "500", "ATOM": "200", "XETH": "3", "ETH2.S": "16", "XTZ": "800"},
        _staking,
        _day_of_staking,
        _more_staking,
    ),
    Desk(
        "gamma-earn",
        "USD",
        "Auto-earn: the hold is on the base asset while the money is in .F",
        {"ZUSD": "25000", "XXBT": "1.5", "USDG": "9000", "SOL": "100", "XETH": "6"},
        _earn,
        _day_of_earn,
        _more_earn,
    ),
    Desk(
        "delta-treasury",
        "EUR",
        "Deposits, withdrawals (one reversed), instant buys and a dust sweep",
        {"ZEUR": "60000", "USDC": "20000", "XXBT": "0.8", "ADA": "0.0081", "XTZ": "0.0523", "USDT": "1000"},
        _treasury,
        _day_of_treasury,
        _more_treasury,
    ),
    Desk(
        "epsilon-quiet",
        "GBP",
        "Nothing changes here",
        {"ZGBP": "8000", "XXBT": "0.35", "XETH": "4", "XXRP": "2500", "ADA": "1800"},
        _quiet,
        _no_event,
        _no_event,
    ),
    Desk(
        "zeta-staged-wrong-key",
        "USD",
        "Staged: the desk uses the secret from before the last rotation, so every call is refused",
        {"ZUSD": "5000", "XXBT": "0.1", "XETH": "2", "XLTC": "20", "LINK": "150"},
        _no_event,
        _no_event,
        _no_event,
    ),
    Desk(
        "eta-silent",
        "EUR",
        "Staged: Kraken answers 503, slowly, for a while",
        {"ZEUR": "15000", "ZGBP": "9000", "XXBT": "0.6", "XETH": "9", "DOT": "700"},
        _silent,
        _no_event,
        _no_event,
    ),
    Desk(
        "theta-otc",
        "USD",
        "Staged: bitcoins vanish from its balance without a ledger line, and a person must decide",
        {"ZUSD": "60000", "XXBT": "2.4", "XETH": "12", "SOL": "90", "XXRP": "4000"},
        _no_event,
        _no_event,
        _no_event,
    ),
)
WRONG_KEY: Final = "zeta-staged-wrong-key"
#: Whose prices move from day to day, and by how many parts of 10,000 at most.
MOVING_PAIRS: Final = ("XBTUSD", "ETHUSD", "SOLUSD", "XBTEUR", "ETHEUR", "XBTGBP", "DOTEUR")
DAILY_MOVE_MAX: Final = 180


def load_demo(exchange: Exchange) -> None:
    """Open the demo's accounts with a week of history.

    Raises:
        ControlError: when it is loaded already.
    """
    if exchange.published:
        raise ControlError("the demo is loaded already")
    for desk in DESKS:
        key, secret = _credential(exchange, desk.name, "key"), _credential(exchange, desk.name, "secret")
        true_secret = _credential(exchange, desk.name, "rotated") if desk.name == WRONG_KEY else secret
        account = exchange.open_account(
            name=desk.name,
            api_key=key[:56],
            api_secret=true_secret,
            permissions=[*READ_PERMISSIONS, "modify-trades", "close-trades"],
            # As the published connections say: a demo's runs follow one another within seconds.
            tier="unlimited",
            opening={
                asset: Decimal(amount) for asset, amount in desk.opening.items() if Decimal(amount) != ZERO
            },
        )
        desk.history(exchange, account)
        exchange.published.append(
            {
                "name": desk.name,
                "api_key": key[:56],
                "api_secret": secret,
                "quote_currency": desk.quote_currency,
                "description": desk.description,
            }
        )


def play_day(exchange: Exchange) -> dict[str, Any]:
    """Let an ordinary day pass: prices move a little, desks trade, earn and get paid."""
    random = exchange.account("alpha-market-making").identifiers.random
    for name in MOVING_PAIRS:
        pair = exchange.reference.pair(name)
        move = Decimal(random.randint(-DAILY_MOVE_MAX, DAILY_MOVE_MAX)) / 10000
        price = exchange.reference.prices[pair.pair_id] * (1 + move)
        exchange.reference.set_price(name, half_up(price, pair.price_decimals))
    return _play(exchange, lambda desk: desk.day)


def play_next(exchange: Exchange) -> dict[str, Any]:
    """Let something happen at every desk but the quiet ones; tell how many ledger rows each got."""
    return _play(exchange, lambda desk: desk.next_act)


def _play(exchange: Exchange, act: Callable[[Desk], Callable[[Exchange, Account], None]]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for desk in DESKS:
        account = exchange.account(desk.name)
        before = len(account.ledger.entries)
        act(desk)(exchange, account)
        written[desk.name] = len(account.ledger.entries) - before
    return written


def _credential(exchange: Exchange, name: str, use: str) -> str:
    """Derive a key or secret: 64 bytes in base64, the same for the same seed."""
    return base64.b64encode(hashlib.sha512(f"{exchange.seed}:{name}:{use}".encode()).digest()).decode()
