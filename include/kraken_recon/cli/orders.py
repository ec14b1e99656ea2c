"""The commands that place, change and trace orders."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from kraken_recon.cli.arguments import amount, moment, row_id, seconds
from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command, either
from kraken_recon.cli.exit_statuses import ExitStatus
from kraken_recon.cli.trading_db import unit_of_work, wired
from kraken_recon.errors import (
    ConfigurationError,
    DecisionRefusedError,
    KrakenReconError,
    OrderFollowedError,
    RequestRefusedError,
)
from kraken_recon.orders.changing import amend_order, cancel_order
from kraken_recon.orders.ordering import Ordering
from kraken_recon.orders.rules.order import Order, OrderStatus
from kraken_recon.orders.settling import Settlement, settle_order
from kraken_recon.orders.store import OrderStore
from kraken_recon.orders.view import order_view, render_order, render_trace, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from decimal import Decimal


WAIT_SECONDS: Final = 60.0
_COME_TO_NOTHING: Final = frozenset({OrderStatus.REFUSED, OrderStatus.REJECTED, OrderStatus.NOT_PLACED})
# Options of `order` that are no fields of a decision by the same name.
_OWN_OPTIONS: Final = frozenset(
    {"command", "fok", "ioc", "json", "key", "limit", "run", "trigger", "until", "wait"}
)
ORDER: Final = argument("--order", type=row_id, required=True, metavar="ID")


@command(
    "order",
    ACCOUNT,
    argument("--pair", required=True, metavar="PAIR", help="such as BTC/USD"),
    argument("--side", required=True, choices=["buy", "sell"]),
    argument("--volume", metavar="V", help="in units of the base asset"),
    argument("--portion", metavar="P", help="of what is available, above 0 up to 1, instead of --volume"),
    argument(
        "--type",
        choices=["market", "limit", "stop-loss", "take-profit"],
        help="default: limit with --limit, else market",
    ),
    argument("--limit", metavar="PRICE", help="limit price"),
    argument("--trigger", metavar="PRICE", help="trigger price of a stop-loss or take-profit order"),
    argument("--expected-price", metavar="PRICE", help="bounds the price; slippage is measured by it"),
    argument("--valid-minutes", metavar="M", help="refuse it rather than send it later than that"),
    argument("--post-only", action="store_true", help="never take: cancel instead of crossing"),
    argument("--ioc", action="store_true", help="cancel at once what does not fill at once"),
    argument("--fok", action="store_true", help="fill all of it at once, or nothing"),
    argument("--until", type=moment, metavar="TIME", help="expire then, such as 2026-01-31T12:00Z"),
    argument("--validate", action="store_true", help="let Kraken check it, and place nothing"),
    argument("--source", default="manual", choices=["ai", "matching", "manual"], help="who decided"),
    argument("--ai-model", metavar="NAME", help="the model that decided"),
    argument("--ai-prompt-sha256", metavar="HASH", help="hash of its prompt"),
    argument("--ai-answer", metavar="TEXT", help="its raw answer"),
    argument("--reason", metavar="TEXT", help="why; kept with the order"),
    argument("--key", metavar="TEXT", help="the same key again is the same order, not another one"),
    argument(
        "--wait", type=seconds, default=WAIT_SECONDS, metavar="SECONDS", help="for a resting order (60)"
    ),
)
def order(arguments: Arguments) -> Result:
    """Record a decision, place it exactly once, and wait for its end."""
    ports = wired().order_ports()
    until = arguments.until
    wishes = {"GTD": until, "IOC": arguments.ioc, "FOK": arguments.fok}
    in_force = [name for name, is_wished in wishes.items() if is_wished]
    if len(in_force) > 1:
        raise ConfigurationError("of --until, --ioc and --fok an order can have one")
    given = {name: value for name, value in vars(arguments).items() if name not in _OWN_OPTIONS} | {
        "limit_price": arguments.limit,
        "trigger_price": arguments.trigger,
        "time_in_force": in_force[0] if in_force else "GTC",
        "expires_at": until.isoformat() if until else None,
        "ai_details_missing": arguments.source == "ai" and arguments.ai_model is None,
    }
    if arguments.key is not None and not arguments.key.strip():
        raise ConfigurationError("--key is empty; is a variable of your script not set? Nothing is ordered")
    decided = {name: value for name, value in given.items() if value is not None}
    ordering = Ordering(ports, key=arguments.key)
    view, lines = _told(lambda: ordering.place(decided, seconds=arguments.wait))
    if view["status"] in _COME_TO_NOTHING:
        view["exit_status"] = int(ExitStatus.REFUSED)
    return view, lines


@command("cancel", ORDER)
def cancel(arguments: Arguments) -> Result:
    """Cancel an order, or what is left of it."""
    ports = wired().order_ports()
    return _told(lambda: cancel_order(arguments.order, ports))


@command(
    "amend", ORDER, *(argument(f"--{name}", metavar="AMOUNT") for name in ("volume", "limit", "trigger"))
)
def amend(arguments: Arguments) -> Result:
    """Change an open order's volume or price."""
    ports = wired().order_ports()
    return _told(
        lambda: amend_order(
            arguments.order,
            ports,
            volume=_amount(arguments.volume),
            limit_price=_amount(arguments.limit),
            trigger_price=_amount(arguments.trigger),
        )
    )


@command(
    "settle",
    ORDER,
    either(
        argument("--at-kraken", metavar="TXID", help="it is this order at Kraken"),
        argument("--not-placed", action="store_true", help="it was never placed"),
        required=True,
    ),
    argument("--by", required=True, metavar="NAME", help="who says so"),
    argument("--reason", required=True, metavar="TEXT", help="how you know; kept with the order"),
    argument(
        "--despite-evidence", action="store_true", help="not placed, although Kraken's books speak of it"
    ),
)
def settle(arguments: Arguments) -> Result:
    """Say what became of an order of unknown outcome that Kraken's books do not settle."""
    ports = wired().order_ports()
    said = Settlement(arguments.at_kraken, arguments.by, arguments.reason, arguments.despite_evidence)
    return _told(lambda: settle_order(arguments.order, said, ports))


@command("trace", ORDER)
def trace_order(arguments: Arguments) -> Result:
    """Trace an order from reason to ledger entry."""
    with unit_of_work() as unit:
        view = trace(OrderStore(unit), arguments.order)
    return view, render_trace(view)


def _told(act: Callable[[], Order]) -> Result:
    """Do something about an order, and say where it stands whatever fails after something was sent."""
    try:
        with _interruptible():
            return _view(act(), ExitStatus.DONE)
    except OrderFollowedError as error:
        order = error.order if isinstance(error.order, Order) else None
        return _view(order, ExitStatus.FOLLOWED, error, decision_id=error.decision_id)
    except (DecisionRefusedError, RequestRefusedError) as error:
        return _view(None, ExitStatus.REFUSED, error)


def _view(
    order: Order | None,
    status: ExitStatus,
    error: KrakenReconError | None = None,
    *,
    decision_id: int | None = None,
) -> Result:
    is_followed = status is ExitStatus.FOLLOWED
    view = {
        **(order_view(order) if order else {"order_id": None, "status": None}),
        "is_followed": is_followed,
        "problem": f"{type(error).__name__}: {error}" if error else None,
        "exit_status": int(status),
    }
    if decision_id is not None:
        view["decision_id"] = decision_id
    lines = render_order(view) if order else []
    if is_followed:
        lines += [
            "  It is not known here what came of it, and it is followed by order_execution.",
            "  DO NOT GIVE IT AGAIN. See what came of it with",
            f"  python -m kraken_recon trace --order {order.order_id}" if order else "  the page of orders",
        ]
    return view, lines


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a SIGTERM, such as ``timeout`` sends, end the work as Ctrl-C does: with a word on what was sent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else amount(text, above_zero=True)
