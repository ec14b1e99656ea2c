"""``/_sim/``: how tests, demo and benchmarks set the stage and read the truth.

Invariant: nothing here is reachable under ``/0/``.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ValidationError

from kraken_sim.amounts import ZERO, plain
from kraken_sim.control import demo_scenario, happenings, models, recordings
from kraken_sim.control.passing_time import catch_up
from kraken_sim.control.settling import settle
from kraken_sim.errors import ControlError
from kraken_sim.exchange import Exchange
from kraken_sim.http.call_budgets import TIERS
from kraken_sim.http.wire import decode, encode
from kraken_sim.market import matching, trading

router = APIRouter(prefix="/_sim")
KEY_FIELDS: Final = (
    "permissions",
    "query_from",
    "query_to",
    "valid_until",
    "ip_allowlist",
    "nonce_window",
    "lockout_after",
)
Body = TypeVar("Body", bound=BaseModel)


async def the_exchange(request: Request) -> Exchange:
    """Hand the program's state to a route, with everything done that is due."""
    exchange: Exchange = request.app.state.exchange
    for account in list(exchange.accounts.values()):
        catch_up(exchange, account)
    return exchange


State = Annotated[Exchange, Depends(the_exchange)]


async def read(request: Request, model: type[Body]) -> Body:
    """Read a body without a float.

    Raises:
        ControlError: when it is not JSON, or not what the model says.
    """
    try:
        return model.model_validate(decode(await request.body() or b"{}"))
    except ValidationError as error:
        raise ControlError("; ".join(f"{item['loc']}: {item['msg']}" for item in error.errors())) from error
    except ValueError as error:
        raise ControlError("expected a JSON body") from error


def reply(content: object) -> Response:
    """Answer in JSON with exact numbers."""
    return Response(encode(content), media_type="application/json")


@router.post("/reset")
async def reset(exchange: State) -> Response:
    """Forget accounts, faults, prices and clocks."""
    exchange.reset()
    return reply({})


@router.get("/accounts")
async def list_accounts(exchange: State) -> Response:
    """List the accounts by name."""
    return reply(sorted(exchange.accounts))


@router.post("/accounts")
async def open_account(request: Request, exchange: State) -> Response:
    """Open an account and load its book."""
    body = await read(request, models.AccountBody)
    account = exchange.open_account(
        name=body.name,
        api_key=body.api_key,
        api_secret=body.api_secret,
        permissions=body.permissions,
        tier=body.tier,
        history_cost=body.history_cost,
        opening=body.opening,
    )
    for field in KEY_FIELDS:
        setattr(account.key, field, getattr(body, field))
    account.order_totals, account.concurrent_limit = body.order_totals, body.concurrent_limit
    account.answers_at_once = body.answers_at_once
    try:
        account.ledger.load(body.entries)
    except (ControlError, KeyError, ValueError) as error:
        exchange.close_account(body.name)
        raise ControlError(f"expected Kraken's ledger rows, was {error}") from error
    return reply({"name": account.name, "entries": len(account.ledger.entries)})


@router.patch("/accounts/{name}")
async def change_account(name: str, request: Request, exchange: State) -> Response:
    """Change a key, its rights, or the account's opening balances."""
    account, body = exchange.account(name), await read(request, models.AccountChange)
    for field in KEY_FIELDS:
        if (value := getattr(body, field)) is not None:
            setattr(account.key, field, value)
    exchange.rotate_key(account, body.api_key, body.api_secret)
    if body.opening is not None:
        account.ledger.open_with(body.opening)
    if body.tier is not None:
        if body.tier not in TIERS:
            raise ControlError(f"expected a tier out of {sorted(TIERS)}, was {body.tier!r}")
        account.budget.tier = TIERS[body.tier]
    account.budget.history_cost = body.history_cost or account.budget.history_cost
    account.order_totals = body.order_totals or account.order_totals
    if body.concurrent_limit is not None:
        account.concurrent_limit = body.concurrent_limit
    if body.answers_at_once is not None:
        account.answers_at_once = body.answers_at_once
    return reply({"name": name})


@router.delete("/accounts/{name}")
async def close_account(name: str, exchange: State) -> Response:
    """Remove an account."""
    exchange.close_account(name)
    return reply({"name": name})


@router.get("/accounts/{name}/statement")
async def statement(name: str, exchange: State) -> Response:
    """Tell the truth about an account."""
    return reply(exchange.statement(exchange.account(name)))


@router.post("/accounts/{name}/events")
async def make_event(name: str, request: Request, exchange: State) -> Response:
    """Let something happen to an account, and tell the ledger ids."""
    body, account = await read(request, models.EventBody), exchange.account(name)
    happened = happenings.happen(account, body)
    await settle(account)
    return reply(happened)


@router.post("/accounts/{name}/fills")
async def fill_order(name: str, request: Request, exchange: State) -> Response:
    """Fill an open order by some volume, as its maker."""
    account, body = exchange.account(name), await read(request, models.FillBody)
    account.expire_orders(account.clock.now())
    order = account.orders.get(body.txid)
    if order is None:
        raise ControlError(f"expected an open order, was {body.txid!r}")
    trade = trading.execute(
        account, order, trading.Execution(body.volume, body.price or order.limit_price, is_maker=True)
    )
    await settle(account)
    return reply({"trade": trade.trade_id, "ledger_ids": trade.ledger_ids})


@router.post("/accounts/{name}/residual")
async def make_residual(name: str, request: Request, exchange: State) -> Response:
    """Let the balance differ from the ledger by an amount; zero heals it."""
    account, body = exchange.account(name), await read(request, models.ResidualBody)
    account.residuals[body.asset] = body.amount
    if body.amount == ZERO:
        del account.residuals[body.asset]
    return reply({asset: str(amount) for asset, amount in account.residuals.items()})


@router.get("/clock")
async def read_clock(exchange: State, account: str | None = None) -> Response:
    """Read the global clock, or an account's."""
    clock = exchange.account(account).clock if account else exchange.clock
    return reply({"mode": clock.mode, "now": plain(clock.now())})


@router.post("/clock")
async def move_clock(request: Request, exchange: State) -> Response:
    """Set or advance a clock; naming an account gives it a clock of its own."""
    body = await read(request, models.ClockBody)
    clock = exchange.clock_of(body.account)
    if body.mode == "real" or body.behind_seconds is not None:
        clock.use_real(body.behind_seconds or ZERO)
    elif body.mode == "virtual" or body.now is not None:
        clock.set(clock.now() if body.now is None else body.now)
    if body.advance_seconds is not None:
        clock.advance(body.advance_seconds)
    return reply({"mode": clock.mode, "now": plain(clock.now())})


@router.post("/prices")
async def move_prices(request: Request, exchange: State) -> Response:
    """Move markets, and fill the resting orders that they reach."""
    prices = decode(await request.body())
    for name, price in prices.items():
        pair = exchange.reference.set_price(name, Decimal(str(price)))
        for account in exchange.accounts.values():
            matching.match_resting(account, exchange.reference, pair)
    for account in exchange.accounts.values():
        await settle(account)
    return reply({})


@router.post("/rebase")
async def rebase(request: Request, exchange: State) -> Response:
    """Let a split or a dividend change a tokenized asset's units, without a row."""
    body = await read(request, models.RebaseBody)
    exchange.reference.rebase(body.asset, body.multiplier)
    return reply({})


@router.post("/liquidity")
async def move_liquidity(request: Request, exchange: State) -> Response:
    """Say how much can be had at a market's price, and let resting orders have it."""
    body = await read(request, models.LiquidityBody)
    pair = exchange.reference.set_depth(body.pair, body.volume)
    for account in exchange.accounts.values():
        matching.match_resting(account, exchange.reference, pair)
    for account in exchange.accounts.values():
        await settle(account)
    return reply({})


@router.post("/pairs/{name}")
async def change_pair(name: str, request: Request, exchange: State) -> Response:
    """Change whether a market takes orders."""
    exchange.reference.set_status(name, (await read(request, models.PairBody)).status)
    return reply({})


@router.post("/system")
async def change_system(request: Request, exchange: State) -> Response:
    """Change what SystemStatus says."""
    exchange.system_status = (await read(request, models.SystemBody)).status
    return reply({})


@router.get("/faults")
async def list_faults(exchange: State) -> Response:
    """List the faults that are set."""
    return reply([fault.wire() for fault in exchange.faults.active])


@router.post("/faults")
async def set_fault(request: Request, exchange: State) -> Response:
    """Set a fault; unnamed fields are its options."""
    body = await read(request, models.FaultBody)
    if body.name.endswith("_wrong_account"):
        exchange.account(str((body.model_extra or {}).get("to_account")))
    fault = exchange.faults.add(
        name=body.name,
        probability=body.probability,
        count=body.count,
        endpoint=body.endpoint,
        account=body.account,
        order=body.order,
        nth=body.nth,
        options=dict(body.model_extra or {}),
    )
    return reply(fault.wire())


@router.delete("/faults")
async def clear_faults(exchange: State) -> Response:
    """Take every fault back."""
    exchange.faults.clear()
    return reply([])


@router.get("/truth")
async def truth(exchange: State) -> Response:
    """Tell every fault that fired, every order's true outcome, every true balance."""
    accounts: dict[str, Any] = {}
    for account in exchange.accounts.values():
        known = exchange.statement(account)
        accounts[account.name] = {
            name: known[name]
            for name in ("balances", "residuals", "transfers", "orders", "calls", "refusals")
        }
    return reply({"faults": exchange.faults.fired, "landed": exchange.landed, "accounts": accounts})


@router.api_route("/landed", methods=["GET", "POST"])
async def land(request: Request, exchange: State) -> Response:
    """Stand for another host: note who was led here, and what he brought, and answer as if all were well."""
    exchange.landed.append({"method": request.method, "with_key": "API-Key" in request.headers})
    return Response(encode({"error": [], "result": {}}), media_type="application/json")


@router.post("/scenario/{step}")
async def play(step: str, exchange: State) -> Response:
    """Load the demo, let an ordinary day pass, or its second act happen."""
    match step:
        case "demo":
            demo_scenario.load_demo(exchange)
            return reply(exchange.published)
        case "next" | "day":
            happened = (
                demo_scenario.play_next(exchange) if step == "next" else demo_scenario.play_day(exchange)
            )
            for account in exchange.accounts.values():
                await settle(account)
            return reply(happened)
        case _:
            raise ControlError(f"expected demo, day or next, was {step!r}")


@router.get("/scenario/accounts")
async def scenario_accounts(exchange: State) -> Response:
    """List the demo's accounts as the desk knows them: one secret is wrong on purpose."""
    return reply(exchange.published)


@router.post("/recordings")
async def load_recordings(request: Request, exchange: State) -> Response:
    """Load recorded books as accounts, each with a clock before its first row."""
    body = await read(request, models.RecordingsBody)
    return reply(recordings.load(exchange, Path(body.directory), body.names))
