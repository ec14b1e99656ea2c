"""The commands of ``python -m kraken_recon`` that place, change and trace orders."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kraken_recon.adapters.postgres.unit_of_work import PostgresUnitOfWork
from kraken_recon.domain.money import ZERO, parse_amount
from kraken_recon.errors import ConfigurationError
from kraken_recon.service.deciding import accept_decisions, submit_decision, take_back
from kraken_recon.service.executing import amend_order, cancel_order, wait_for_end
from kraken_recon.service.order_views import order_view, render_order, render_trace, trace

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable
    from decimal import Decimal
    from typing import TypeAlias

    from kraken_recon.bootstrap import Wiring

    View: TypeAlias = tuple[dict[str, Any], list[str]]
    Command: TypeAlias = Callable[[str, Callable[[argparse.Namespace], View], str], argparse.ArgumentParser]

WAIT_SECONDS = 60.0


def add_order_commands(command: Command, wiring: Callable[[], Wiring]) -> None:
    """Add the commands; ``wiring`` is called when one of them runs."""
    _add_order(command, wiring)
    cancel = command("cancel", lambda a: _cancel(a, wiring()), "Cancel an order, or what is left of it.")
    cancel.add_argument("--order", type=int, required=True, metavar="ID")
    amend = command("amend", lambda a: _amend(a, wiring()), "Change an open order's volume or price.")
    amend.add_argument("--order", type=int, required=True, metavar="ID")
    for name in ("volume", "limit", "trigger"):
        amend.add_argument(f"--{name}", metavar="AMOUNT")
    traced = command("trace", lambda a: _trace(a, wiring()), "Trace an order from reason to ledger entry.")
    traced.add_argument("--order", type=int, required=True, metavar="ID")


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
    order.add_argument("--until", metavar="TIME", help="expire then, such as 2026-01-31T12:00Z")
    order.add_argument("--validate", action="store_true", help="let Kraken check it, and place nothing")
    order.add_argument("--source", default="manual", choices=["ai", "matching", "manual"], help="who decided")
    order.add_argument("--ai-model", metavar="NAME", help="the model that decided")
    order.add_argument("--ai-prompt-sha256", metavar="HASH", help="hash of its prompt")
    order.add_argument("--ai-answer", metavar="TEXT", help="its raw answer")
    order.add_argument("--reason", metavar="TEXT", help="why; kept with the order")
    order.add_argument("--key", metavar="TEXT", help="the same key again is the same order, not another one")
    order.add_argument(
        "--wait", type=float, default=WAIT_SECONDS, metavar="SECONDS", help="for a resting order (60)"
    )


def _order(arguments: argparse.Namespace, wiring: Wiring) -> View:
    until = _moment(arguments.until) if arguments.until else None
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
    ports = wiring.order_ports()
    decided = {name: value for name, value in given.items() if value is not None}
    decision_id = submit_decision(decided, ports, key=arguments.key, via="command line")
    failures = accept_decisions(ports)
    with ports.open_unit_of_work() as unit:
        _, refusal, order_id = unit.orders.decision(decision_id)
    if refusal is not None:
        raise ConfigurationError(f"decision {decision_id} is refused: {refusal}")
    if order_id is None:
        reason = failures.get(arguments.account, "another worker is at it")
        # Whoever reads of a failure gives the command again: without a key that would be a second order.
        if arguments.key is None and take_back(decision_id, reason, ports):
            raise ConfigurationError(f"nothing is ordered, decision {decision_id} is taken back: {reason}")
        raise ConfigurationError(f"decision {decision_id} is kept and waits for the next execution: {reason}")
    return _shown(order_view(wait_for_end(order_id, ports, seconds=arguments.wait)))


def _cancel(arguments: argparse.Namespace, wiring: Wiring) -> View:
    return _shown(order_view(cancel_order(arguments.order, wiring.order_ports())))


def _amend(arguments: argparse.Namespace, wiring: Wiring) -> View:
    amended = amend_order(
        arguments.order,
        wiring.order_ports(),
        volume=_amount(arguments.volume),
        limit_price=_amount(arguments.limit),
        trigger_price=_amount(arguments.trigger),
    )
    return _shown(order_view(amended))


def _trace(arguments: argparse.Namespace, wiring: Wiring) -> View:
    with PostgresUnitOfWork(wiring.engine()) as unit:
        view = trace(unit.orders, arguments.order)
    return view, render_trace(view)


def _shown(view: dict[str, Any]) -> View:
    return view, render_order(view)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"expected a time such as 2026-01-31T12:00Z, was {text}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
