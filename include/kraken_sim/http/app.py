"""The HTTP face: ``/0/`` as Kraken answers, ``/_sim/`` for whoever runs the simulation.

Invariant: no handler awaits between reading state and changing it, so the event loop is the only lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI, Request, Response

from kraken_sim.account.account import LateCall
from kraken_sim.amounts import ZERO
from kraken_sim.control import api
from kraken_sim.control.passing_time import catch_up
from kraken_sim.control.settling import settle
from kraken_sim.endpoints import funding as funding_endpoints
from kraken_sim.endpoints import private as private_endpoints
from kraken_sim.endpoints import public as public_endpoints
from kraken_sim.endpoints.call import Call
from kraken_sim.errors import ApiError, ControlError
from kraken_sim.faults import broken_answers
from kraken_sim.faults.altered_fields import alter
from kraken_sim.faults.named import AFTER, BEFORE, BYTES, CONTENT, FIELDS, WRITES
from kraken_sim.faults.odd_bodies import odd_body
from kraken_sim.http.wire import encode, failure, parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from kraken_sim.account.account import Account
    from kraken_sim.exchange import Exchange
    from kraken_sim.faults.named import Fault

JSON_TYPE: Final = "application/json; charset=utf-8"
#: How long a "timeout" holds the line when no length is given.
TIMEOUT_SECONDS: Final = 30
#: How far off the moment is that a throttled client is told to wait for.
THROTTLED_SECONDS: Final = 5
#: How late a late order is when nothing else is said.
LATE_SECONDS: Final = 5
#: Long enough for the first half of an answer to be on its way.
HALFWAY_SECONDS: Final = 0.02
RECEIVE: Final = "kraken_sim.receive"


class KeepTransport:
    """Remember the server's connection, so that a fault can cut it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        scope[RECEIVE] = receive
        await self.app(scope, receive, send)


def create_app(exchange: Exchange) -> FastAPI:
    """Build the program around one exchange."""
    app = FastAPI(title="Kraken simulator", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.exchange = exchange
    app.add_middleware(KeepTransport)

    @app.exception_handler(ControlError)
    async def refuse(_: Request, error: ControlError) -> Response:
        return Response(encode({"detail": str(error)}), HTTPStatus.BAD_REQUEST, media_type="application/json")

    @app.api_route("/0/public/{endpoint}", methods=["GET", "POST"])
    async def public(endpoint: str, request: Request) -> Response:
        return await PublicCall(exchange, endpoint, request).answer()

    @app.api_route("/0/private/{endpoint}", methods=["GET", "POST"])
    async def private(endpoint: str, request: Request) -> Response:
        return await PrivateCall(exchange, endpoint, request).answer()

    @app.get("/funding/v1/{endpoint}")
    async def funding(endpoint: str, request: Request) -> Response:
        return await FundingCall(exchange, endpoint, request).answer()

    @app.api_route("/0/{rest:path}", methods=["GET", "POST"])
    async def unknown(rest: str) -> Response:
        del rest
        return Response(failure("EGeneral:Unknown method"), media_type=JSON_TYPE)

    app.include_router(api.router)  # last: a route is looked for from the first on
    return app


def throttled(now: Decimal, seconds: int) -> str:
    """Write the refusal that says when to come back."""
    return f"EService: Throttled: {int(now) + seconds}"


class PublicCall:
    """One HTTP request, from its faults to its answer."""

    def __init__(self, exchange: Exchange, endpoint: str, request: Request) -> None:
        self.exchange, self.endpoint, self.request = exchange, endpoint, request
        self.account: Account | None = None
        self.accepted = False
        self.about: frozenset[str] = frozenset()
        self.records: list[dict[str, Any]] = []  # of the faults that struck this call
        self.outcome: dict[str, Any] = {"outcome": "nothing"}

    @property
    def name(self) -> str:
        """Who calls, as far as the key tells."""
        return self.account.name if self.account else ""

    @property
    def now(self) -> Decimal:
        """Read the caller's clock."""
        return (self.account or self.exchange).clock.now()

    def take(self, *names: str, **wanted: object) -> Fault | None:
        """Draw a fault for this call."""
        faults = self.exchange.faults
        fault = faults.take(names, self.name, self.endpoint, self.now, about=self.about, **wanted)
        if fault is not None:
            self.records.append(faults.fired[-1])
        return fault

    async def answer(self) -> Response:
        """Answer, with whatever goes wrong on the way."""
        # Read first: who sends an order and hangs up while it is slow has sent an order.
        body = await self.request.body()
        self._look_at(body)
        if refusal := self._crowded():
            return refusal
        if slow := self.take("slow"):
            await asyncio.sleep(float(slow.options.get("seconds", 1)))
        text, lost = await self._decide(body)
        hang, cut = self.take("hang"), None if lost else self.take("reset_mid_answer")
        if self.endpoint in WRITES:
            for record in self.records:
                record.update(self.outcome)
        if hang:
            await asyncio.sleep(float(hang.options.get("seconds", TIMEOUT_SECONDS)))
        if lost:
            return await self._instead(lost)
        if not cut and (odd := self.take(*BYTES)):
            return odd_body(odd, text, self._transport)
        kind = "text/html" if text.startswith("<") else JSON_TYPE
        return HalfAnswer(text, self._cut, kind) if cut else Response(text, media_type=kind)

    async def _decide(self, body: bytes) -> tuple[str, Fault | None]:
        """Do what is asked, unless a fault comes first; tell the answer, or the fault that swallows it."""
        if late := self._late(body):
            return late
        if fault := self._before():
            return "", fault
        text = await self._envelope(body)
        if self.accepted and (fault := self.take("accept_then_fail")):
            self.records[-1]["answer"] = text
            return "", fault
        if fault := self.take(*AFTER):
            text = broken_answers.spoil_body(fault, text)
        return text, None

    def _look_at(self, body: bytes) -> None:
        """Learn what the call is about before anything else happens."""

    def _late(self, body: bytes) -> tuple[str, Fault | None] | None:
        """Put a write off until later, if that is asked for."""
        del body
        return None

    def _before(self) -> Fault | None:
        return self.take(*BEFORE)

    def _crowded(self) -> Response | None:
        return None

    async def _envelope(self, body: bytes) -> str:
        del body
        handler = public_endpoints.ENDPOINTS.get(self.endpoint)
        if handler is None:
            return failure("EGeneral:Unknown method")
        try:
            result = handler(self.exchange, self.request.query_params)
        except ApiError as error:
            return failure(*error.codes)
        if fault := self.take(*CONTENT):
            result = broken_answers.spoil_content(fault, result)
        return encode(self._altered({"error": [], "result": result}))

    def _altered(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Alter single fields of an answer, if that is asked for."""
        for fault in self.exchange.faults.active:
            if fault.name in FIELDS and fault.matches(self.name, self.endpoint):
                altered = alter(
                    answer, str(fault.options.get("path", "result")), str(fault.options.get("how"))
                )
                if altered is not None and self.take(fault.name):
                    answer = altered
        return answer

    async def _instead(self, fault: Fault) -> Response:
        """Send what the fault looks like from outside."""
        shape = str(fault.options.get("appearance", fault.name))
        if shape in {"timeout", "reset"}:
            silence = TIMEOUT_SECONDS if shape == "timeout" else 0
            await asyncio.sleep(float(fault.options.get("seconds", silence)))
            return self._cut()
        if shape == "redirect_302":
            return Response(status_code=HTTPStatus.FOUND, headers={"Location": "/0/public/Time"})
        if shape == "redirect_elsewhere":
            to = str(fault.options.get("to", f"http://localhost:{self.request.url.port}/_sim/landed"))
            status = int(fault.options.get("status", HTTPStatus.TEMPORARY_REDIRECT))
            return Response(status_code=status, headers={"Location": to})
        if shape == "http_error" or shape.isdigit():
            status = int(shape) if shape.isdigit() else int(fault.options.get("status", 502))
            return Response(broken_answers.gateway_page(status), status, media_type="text/html")
        code = {
            "throttled": throttled(self.now, int(fault.options.get("seconds", THROTTLED_SECONDS))),
            "rate_limited": "EAPI:Rate limit exceeded",
            "invalid_nonce": "EAPI:Invalid nonce",
        }.get(shape) or str(fault.options.get("text", "EService:Unavailable"))
        return Response(failure(code), media_type=JSON_TYPE)

    @property
    def _transport(self) -> asyncio.Transport:
        transport: asyncio.Transport = self.request.scope[RECEIVE].__self__.transport
        return transport

    def _cut(self) -> Response:
        """Reset the connection: the answer that follows goes nowhere."""
        transport = self._transport
        if transport.is_closing():  # the client was not that patient
            return Response()
        line = transport.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        return Response()


class HalfAnswer(Response):
    """An answer of which the connection is reset halfway through."""

    def __init__(self, text: str, cut: Callable[[], object], media_type: str) -> None:
        super().__init__(text, media_type=media_type)
        self._reset = cut

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Announce the whole, send half, and drop the line."""
        del scope, receive
        body = bytes(self.body)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await asyncio.sleep(HALFWAY_SECONDS)
        self._reset()
        await asyncio.sleep(0)  # the server must have learned of it before the answer ends


class PrivateCall(PublicCall):
    """One signed request."""

    crowd = 0  # requests of the same key, this one too, when it came in
    arrived = ZERO
    method = "POST"
    endpoints: Mapping[str, Callable[[Call], Any]] = private_endpoints.ENDPOINTS

    async def answer(self) -> Response:
        """Find the account by its key alone, so that faults can aim at it, then answer."""
        self.account = self.exchange.by_key.get(self.request.headers.get("API-Key", ""))
        if self.account is None:
            return await super().answer()
        self.account.in_flight += 1
        self.crowd = self.account.in_flight
        try:
            return await super().answer()
        finally:
            self.account.in_flight -= 1

    def _look_at(self, body: bytes) -> None:
        if self.account is None:
            return
        self.arrived = self.account.clock.now()
        # Only to know whom a fault is aimed at; what cannot be read is refused later, in its turn.
        with contextlib.suppress(ApiError):
            given = parameters(body, self.request.headers.get("content-type", ""))
            self.about = named_orders(self.account, given)

    def _late(self, body: bytes) -> tuple[str, Fault | None] | None:
        if self.account is None or (fault := self.take("late_accept")) is None:
            return None
        try:
            given = self._admit(self.account, body)
        except ApiError as error:
            self.outcome = {"outcome": "refused", "error": str(error)}
            return failure(*error.codes), None
        due = self.arrived + Decimal(str(fault.options.get("after_seconds", LATE_SECONDS)))
        self.outcome = {"outcome": "waiting", "due": str(due)}
        self.account.late.append(LateCall(due, self.arrived, self.endpoint, given, self.records))
        return "", self._before() or self.take("accept_then_fail") or fault

    def _before(self) -> Fault | None:
        return self.take(*BEFORE, executed=False, only_concurrent=self.crowd > 1)

    def _crowded(self) -> Response | None:
        """Refuse what is too much at once, before anything else is looked at."""
        if self.account is None or not 0 < self.account.concurrent_limit < self.crowd:
            return None
        return Response(failure(throttled(self.now, THROTTLED_SECONDS)), media_type=JSON_TYPE)

    async def _envelope(self, body: bytes) -> str:
        try:
            result = self._result(body)
        except ApiError as error:
            self.outcome = {"outcome": "refused", "error": str(error)}
            if self.account is not None:
                self.account.refusals[error.codes[0]] += 1
            return failure(*error.codes)
        except ControlError as error:
            self.outcome = {"outcome": "refused", "error": str(error)}
            return failure(f"EGeneral:Internal error:{error}")
        self.accepted = True
        if self.endpoint in WRITES and self.account is not None:
            self.outcome = {"outcome": "accepted", "result": result}
            if not self.account.answers_at_once:
                await settle(self.account)
            if fault := self.take("api_error", executed=True):
                return failure(str(fault.options.get("text", "EService:Unavailable")))
        if self.endpoint == "Balance" and not result:
            return failure()  # an account that never held anything: no error, and no result either
        if isinstance(result, dict) and (fault := self.take(*CONTENT)):
            result = broken_answers.spoil_content(fault, result)
        return encode(self._altered({"error": [], "result": result}))

    def _result(self, body: bytes) -> Any:  # noqa: ANN401 - a map, or what a consolidated list is
        """Let the caller in and do what is asked, without giving way to any other request."""
        if self.request.method != self.method:
            raise ApiError("EGeneral:Invalid arguments")
        if self.account is None:
            raise ApiError("EAPI:Invalid key")
        given = self._admit(self.account, body)
        catch_up(self.exchange, self.account)
        call = Call(self.exchange, self.account, self.endpoint, given, arrived=self.arrived)
        return self.endpoints[self.endpoint](call)

    def _admit(self, account: Account, body: bytes) -> dict[str, str]:
        """Check the key, its rights and its budget; tell what it asks for."""
        if self.endpoint not in self.endpoints:
            raise ApiError("EGeneral:Unknown method")
        given = self._given(body)
        account.calls[self.endpoint] += 1
        now = account.clock.now()
        account.key.authenticate(
            path=self._path(),
            body=body,
            nonce=given.get("nonce"),
            signature=self.request.headers.get("API-Sign", ""),
            address=self.request.client.host if self.request.client else "",
            now=now,
        )
        account.key.permit(self.endpoint)
        account.budget.charge_call(self.endpoint, now)
        return given

    def _given(self, body: bytes) -> dict[str, str]:
        return parameters(body, self.request.headers.get("content-type", ""))

    def _path(self) -> str:
        """Tell the path that was signed."""
        return self.request.url.path


class FundingCall(PrivateCall):
    """One signed request of the Funding (Beta) API: its answer has no envelope unless it is refused."""

    method = "GET"
    endpoints = funding_endpoints.ENDPOINTS

    async def _envelope(self, body: bytes) -> str:
        try:
            return encode(self._altered(self._result(body)))
        except ApiError as error:
            return failure(*error.codes)

    def _given(self, body: bytes) -> dict[str, str]:
        del body
        return {**self.request.query_params, "nonce": self.request.headers.get("API-Nonce", "")}

    def _path(self) -> str:
        query = self.request.url.query
        return f"{self.request.url.path}?{query}" if query else self.request.url.path


def named_orders(account: Account, given: dict[str, str]) -> frozenset[str]:
    """Tell what the orders that a request names are called, by every name that they have."""
    texts = [given.get(name, "") for name in ("cl_ord_id", "userref", "txid", "orders", "cl_ord_ids")]
    named = {name.strip() for text in texts for name in text.split(",") if name.strip()}
    known = [account.orders[name].names for name in named if name in account.orders]
    return frozenset(named.union(*known))
