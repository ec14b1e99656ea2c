"""The commands of ``python -m kraken_recon`` that place, change and trace orders."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.cli.arguments import moment, row_id, seconds
from kraken_recon.cli.exit_statuses import ExitStatus
from kraken_recon.database.unit_of_work import UnitOfWork
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
from kraken_recon.values.money import ZERO, parse_amount

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from decimal import Decimal
    from typing import TypeAlias

    from kraken_recon.wiring import Wiring

    View: TypeAlias = tuple[dict[str, Any], list[str]]
    Command: TypeAlias = Callable[[str, Callable[[argparse.Namespace], View], str], argparse.ArgumentParser]

WAIT_SECONDS = 60.0
_COME_TO_NOTHING: Final = frozenset({OrderStatus.REFUSED, OrderStatus.REJECTED, OrderStatus.NOT_PLACED})


def add_order_commands(command: Command, wiring: Callable[[], Wiring]) -> None:
    """Add the commands; ``wiring`` is called when one of them runs."""
    _add_order(command, wiring)
    cancel = command("cancel", lambda a: _cancel(a, wiring()), "Cancel an order, or what is left of it.")
    cancel.add_argument("--order", type=row_id, required=True, metavar="ID")
    amend = command("amend", lambda a: _amend(a, wiring()), "Change an open order's volume or price.")
    amend.add_argument("--order", type=row_id, required=True, metavar="ID")
    for name in ("volume", "limit", "trigger"):
        amend.add_argument(f"--{name}", metavar="AMOUNT")
    _add_settle(command, wiring)
    traced = command("trace", lambda a: _trace(a, wiring()), "Trace an order from reason to ledger entry.")
    traced.add_argument("--order", type=row_id, required=True, metavar="ID")


def _add_settle(command: Command, wiring: Callable[[], Wiring]) -> None:
    settle = command(
        "settle",
        lambda a: _settle(a, wiring()),
        "Say what became of an order of unknown outcome that Kraken's books do not settle.",
    )
    settle.add_argument("--order", type=int, required=True, metavar="ID")
    outcome = settle.add_mutually_exclusive_group(required=True)
    outcome.add_argument("--at-kraken", metavar="TXID", help="it is this order at Kraken")
    outcome.add_argument("--not-placed", action="store_true", help="it was never placed")
    settle.add_argument("--by", required=True, metavar="NAME", help="who says so")
    settle.add_argument("--reason", required=True, metavar="TEXT", help="how you know; kept with the order")
    settle.add_argument(
        "--despite-evidence", action="store_true", help="not placed, although Kraken's books speak of it"
    )


def _add_order(command: Command, wiring: Callable[[], Wiring]) -> None:
    order = command(
        "order",
        lambda a: _order(a, wiring()),
        "Record a decision, place it exactly once, and wait for its end.",
    )
    order.add_argument("--account", required=True, metavar="NAME")
    order.add_argument("--pair", required=True, metavar="PAIR", help="such as BTC/USD")
    order.add_argument("--side", required=True, choices=["buy", "sell"])
    order.add_argument("--volume", metavar="V", help="in units of the base asset")
    order.add_argument(
        "--portion", metavar="P", help="of what is available, above 0 up to 1, instead of --volume"
    )
    order.add_argument(
        "--type",
        choices=["market", "limit", "stop-loss", "take-profit"],
        help="default: limit with --limit, else market",
    )
    order.add_argument("--limit", metavar="PRICE", help="limit price")
    order.add_argument("--trigger", metavar="PRICE", help="trigger price of a stop-loss or take-profit order")
    order.add_argument(
        "--expected-price",
        metavar="PRICE",
        help="bounds the price; slippage is measured by it",
    )
    order.add_argument("--valid-minutes", metavar="M", help="refuse it rather than send it later than that")
    order.add_argument("--post-only", action="store_true", help="never take: cancel instead of crossing")
    order.add_argument("--ioc", action="store_true", help="cancel at once what does not fill at once")
    order.add_argument("--until", type=moment, metavar="TIME", help="expire then, such as 2026-01-31T12:00Z")
    order.add_argument("--validate", action="store_true", help="let Kraken check it, and place nothing")
    order.add_argument("--source", default="manual", choices=["ai", "matching", "manual"], help="who decided")
    order.add_argument("--ai-model", metavar="NAME", help="the model that decided")
    order.add_argument("--ai-prompt-sha256", metavar="HASH", help="hash of its prompt")
    order.add_argument("--ai-answer", metavar="TEXT", help="its raw answer")
    order.add_argument("--reason", metavar="TEXT", help="why; kept with the order")
    order.add_argument("--key", metavar="TEXT", help="the same key again is the same order, not another one")
    order.add_argument(
        "--wait", type=seconds, default=WAIT_SECONDS, metavar="SECONDS", help="for a resting order (60)"
    )


def _order(arguments: argparse.Namespace, wiring: Wiring) -> View:
    until = arguments.until
    time_in_force = "GTD" if until else "IOC" if arguments.ioc else "GTC"
    if until and arguments.ioc:
        raise ConfigurationError("an order that expires later cannot be --ioc")
    given = {
        "account": arguments.account,
        "pair": arguments.pair,
        "side": arguments.side,
        "volume": arguments.volume,
        "portion": arguments.portion,
        "type": arguments.type,
        "limit_price": arguments.limit,
        "trigger_price": arguments.trigger,
        "expected_price": arguments.expected_price,
        "valid_minutes": arguments.valid_minutes,
        "time_in_force": time_in_force,
        "expires_at": until.isoformat() if until else None,
        "post_only": arguments.post_only,
        "validate": arguments.validate,
        "source": arguments.source,
        "reason": arguments.reason,
        "ai_model": arguments.ai_model,
        "ai_prompt_sha256": arguments.ai_prompt_sha256,
        "ai_answer": arguments.ai_answer,
        "ai_details_missing": arguments.source == "ai" and arguments.ai_model is None,
    }
    if arguments.key is not None and not arguments.key.strip():
        raise ConfigurationError("--key is empty; is a variable of your script not set? Nothing is ordered")
    decided = {name: value for name, value in given.items() if value is not None}
    ordering = Ordering(wiring.order_ports(), key=arguments.key)
    view, lines = _told(lambda: ordering.place(decided, seconds=arguments.wait))
    if view["status"] in _COME_TO_NOTHING:
        view["exit_status"] = int(ExitStatus.REFUSED)
    return view, lines


def _cancel(arguments: argparse.Namespace, wiring: Wiring) -> View:
    return _told(lambda: cancel_order(arguments.order, wiring.order_ports()))


def _amend(arguments: argparse.Namespace, wiring: Wiring) -> View:
    return _told(
        lambda: amend_order(
            arguments.order,
            wiring.order_ports(),
            volume=_amount(arguments.volume),
            limit_price=_amount(arguments.limit),
            trigger_price=_amount(arguments.trigger),
        )
    )


def _settle(arguments: argparse.Namespace, wiring: Wiring) -> View:
    said = Settlement(arguments.at_kraken, arguments.by, arguments.reason, arguments.despite_evidence)
    return _told(lambda: settle_order(arguments.order, said, wiring.order_ports()))


def _told(act: Callable[[], Order]) -> View:
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
) -> View:
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


def _trace(arguments: argparse.Namespace, wiring: Wiring) -> View:
    with UnitOfWork(wiring.engine()) as unit:
        view = trace(OrderStore(unit), arguments.order)
    return view, render_trace(view)


def _amount(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = parse_amount(text)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if amount <= ZERO:
        raise ConfigurationError(f"expected more than zero, was {text}")
    return amount
