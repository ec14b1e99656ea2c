"""One account at Kraken, through one API key: the adapter behind the ``Exchange`` port.

Invariants:
1. An answer is Kraken's, complete and without errors, or an exception says why not.
2. Reads are repeated after failures that may pass, and whatever was wrong with an answer's body, each time
   with a new nonce, within a bounded time.
3. Every private request, repeated ones included, takes a call slot first and is counted in ``calls``.
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential, wait_random

from kraken_recon.errors import (
    ConfigurationError,
    ExchangeError,
    NonceRejectedError,
    PayloadInvalidError,
    RateLimitedError,
)
from kraken_recon.kraken import parse_account, parse_ledger
from kraken_recon.kraken.parse_funding import parse_transfers
from kraken_recon.kraken.parse_margin import parse_open_positions
from kraken_recon.kraken.rate_limits import call_cost
from kraken_recon.kraken.transport import KrakenTransport
from kraken_recon.ledger.asset_names import TOKENIZED_CLASS
from kraken_recon.ledger.entries import TOKENIZED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from kraken_recon.kraken.call_slots import CallSlots
    from kraken_recon.kraken.credentials import KrakenCredentials
    from kraken_recon.kraken.transport import Parameter
    from kraken_recon.ledger.entries import Balance, HoldingKey, LedgerPage
    from kraken_recon.ledger.transfers import Transfer
    from kraken_recon.reconciliation.margin.rules import MarginPosition

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

READ_PERMISSIONS: Final = frozenset(
    {"query-funds", "query-ledger", "query-open-trades", "query-closed-trades"}
)
TRANSFERS_MAX: Final = 500
# Kraken rounds both amounts that a factor comes from; what is finer would be made up.
FACTOR_STEP: Final = Decimal("0.00000001")
DIVISION: Final = Context(prec=60)
# Splits and dividends of tokenized assets change what Kraken tells in rebased units, without a row of a
# ledger; in base units only rows change anything.
BASE_UNITS: Final[Mapping[str, str]] = MappingProxyType({"rebase_multiplier": "base"})
ASSET_CLASSES: Final = ("currency", "tokenized_asset")
TRANSFER_ATTEMPTS_MAX: Final = 2
# A key that may only manage withdrawal addresses can't move money by itself, but it prepares the way, and
# nothing here ever needs it.
FORBIDDEN_PERMISSIONS: Final = frozenset(
    {"withdraw-funds", "add-withdraw-address", "update-withdraw-address"}
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a read is repeated."""

    attempts_max: int = 5
    # Kraken locks a key out after many rejected nonces in a row.
    nonce_attempts_max: int = 3
    deadline_seconds: float = 120.0
    wait_first_seconds: float = 0.5
    wait_max_seconds: float = 15.0
    # "for a few seconds (or possibly longer if calls continue)", says Kraken of a key over its limit.
    wait_rate_limited_seconds: float = 5.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


def key_problems(info: parse_account.KeyInfo, now: datetime) -> list[str]:
    """Say what a person has to change of a key at Kraken: it may be too powerful, too blind, or expired."""
    problems = []
    if excess := sorted(FORBIDDEN_PERMISSIONS & info.permissions):
        problems.append(f"take away {', '.join(excess)}")
    if missing := sorted(READ_PERMISSIONS - info.permissions):
        problems.append(f"add {', '.join(missing)}")
    # Outside its window Kraken hides rows without an error: an incomplete ledger would look complete.
    if info.query_from is not None or info.query_to is not None:
        problems.append("remove its query start and end dates")
    if info.valid_until is not None and info.valid_until <= now:
        problems.append(f"replace it, it expired at {info.valid_until.isoformat()}")
    return problems


class KrakenClient:
    """Satisfies ``kraken_recon.reconciliation.exchange.Exchange``. Not thread-safe: one object per thread."""

    def __init__(  # noqa: PLR0913 - all but one by name, and most with a default
        self,
        credentials: KrakenCredentials,
        *,
        account: str,
        slots: CallSlots,
        timeout_seconds: tuple[float, float] = (5.0, 20.0),
        retries: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._transport = KrakenTransport(credentials, account=account, timeout_seconds=timeout_seconds)
        self._account = account
        self._slots = slots
        self._retries = retries or RetryPolicy()
        self._sleep = sleep
        self._now = now
        self._calls = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Be done with the account; the process keeps its connections for the next."""
        self._transport.close()

    @property
    def calls(self) -> int:
        """Private requests sent so far, retries included."""
        return self._calls

    def check_key(self) -> None:
        """Refuse a key that may withdraw, lacks a read permission, has expired, or sees only a date window.

        Raises:
            ConfigurationError: with what to change at Kraken.
            ExchangeError: the key could not be asked about.
        """
        self.inspect_key()

    def inspect_key(self) -> parse_account.KeyInfo:
        """Check the key as ``check_key`` does, and return what Kraken says of it.

        Raises:
            ConfigurationError: with what to change at Kraken.
            ExchangeError: the key could not be asked about.
        """
        info = self.key_info()
        if problems := key_problems(info, self._now()):
            raise ConfigurationError(
                f"account {self._account}: change its API key {info.name!r} at Kraken: {'; '.join(problems)}"
            )
        return info

    def key_info(self) -> parse_account.KeyInfo:
        """Read what Kraken says of the key."""
        return self._read_result(
            "GetApiKeyInfo", {}, partial(parse_account.parse_key_info, account=self._account)
        )

    def balances(self) -> Mapping[HoldingKey, Balance]:
        """Read ``BalanceEx``; an account that never held anything is answered without a result."""

        def parse(reply: parse_account.Reply) -> Mapping[HoldingKey, Balance]:
            return (
                parse_account.parse_balances(reply.result, account=self._account) if reply.has_result else {}
            )

        return self._repeated(lambda: parse(self._send("BalanceEx", BASE_UNITS)))

    def rebase_factors(self) -> Mapping[str, Decimal]:
        """Read what one unit of each tokenized asset held here is in the units of Kraken's own pages."""
        held = {key: b.balance for key, b in self.balances().items() if key.wallet == TOKENIZED and b.balance}
        if not held:
            return {}
        rebased = self._read_result(
            "BalanceEx", {}, partial(parse_account.parse_balances, account=self._account)
        )
        return {
            key.asset: DIVISION.quantize(DIVISION.divide(rebased[key].balance, balance), FACTOR_STEP)
            for key, balance in held.items()
            if key in rebased
        }

    def ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Read one page of ``Ledgers``, newest first.

        ``after`` is exclusive, but Kraken's times are finer than a microsecond: the entry that ``after`` was
        taken from may come again.
        """
        return self._ledger_page({}, after, until, offset)

    def tokenized_ledger_page(self, *, after: datetime | None, until: str | None, offset: int) -> LedgerPage:
        """Read one page of the ledger of tokenized assets (AAPLx), newest first.

        Kraken's default class is "currency": no page of it holds these rows, although BalanceEx shows their
        balances.
        """
        return self._ledger_page({"aclass": TOKENIZED_CLASS, **BASE_UNITS}, after, until, offset)

    def _ledger_page(
        self, of: Mapping[str, Parameter], after: datetime | None, until: str | None, offset: int
    ) -> LedgerPage:
        parameters = {**of, "start": _unix_seconds(after), "end": until, "ofs": offset or None}
        return self._read_result(
            "Ledgers", parameters, partial(parse_ledger.parse_ledger_page, account=self._account)
        )

    def open_positions(self) -> Mapping[str, MarginPosition]:
        """Read ``OpenPositions`` with their values, by position id; empty when none is open."""
        parse = partial(parse_open_positions, account=self._account)
        return self._read_result("OpenPositions", {"docalcs": "true"}, parse)

    def transfers(self) -> tuple[Transfer, ...]:
        """Read the newest deposits and withdrawals with their state, in two calls of the Funding (Beta) API.

        Raises:
            ExchangeError: the API does not answer, or the key may not query funds there.
        """

        def read(endpoint: str) -> tuple[Transfer, ...]:
            with self._slots.take(call_cost(endpoint)) as nonce:
                self._calls += 1
                parameters: dict[str, Parameter] = {"limit": TRANSFERS_MAX, **BASE_UNITS}
                body = self._transport.send_funding(endpoint, parameters, nonce=nonce)
                result = parse_account.decode_funding_reply(body, account=self._account, endpoint=endpoint)
            return parse_transfers(result, endpoint=endpoint, account=self._account)

        # Few times: what is not read now explains nothing now, and the next run asks again.
        policy = replace(self._retries, attempts_max=TRANSFER_ATTEMPTS_MAX)
        told = [self._repeated(partial(read, endpoint), policy) for endpoint in ("withdrawals", "deposits")]
        return tuple(transfer for transfers in told for transfer in transfers)

    def prices(self, quote: str) -> Mapping[str, Decimal]:
        """Read last prices of every asset that has a market against ``quote``, by normalised asset name."""
        pairs = self._read_public("AssetPairs", partial(parse_account.parse_pairs, account=self._account))
        last_prices = self._read_public(
            "Ticker", partial(parse_account.parse_last_prices, account=self._account)
        )
        return parse_account.prices_in(quote, pairs, last_prices)

    def known_assets(self) -> frozenset[str]:
        """Read ``Assets``: every asset that Kraken knows, tokenized ones among them, by normalised name."""
        parse = partial(parse_account.parse_assets, account=self._account)
        return frozenset().union(
            *(self._read_public("Assets", parse, {"aclass": kind}) for kind in ASSET_CLASSES)
        )

    def _read_result(
        self, endpoint: str, parameters: Mapping[str, Parameter], parse: Callable[[object], Value]
    ) -> Value:
        return self._repeated(lambda: parse(self._result_of(self._send(endpoint, parameters), endpoint)))

    def _read_public(
        self,
        endpoint: str,
        parse: Callable[[object], Value],
        parameters: Mapping[str, Parameter] | None = None,
    ) -> Value:
        def attempt() -> Value:
            body = self._transport.send_public(endpoint, parameters or {})
            reply = parse_account.decode_reply(body, account=self._account, endpoint=endpoint)
            return parse(self._result_of(reply, endpoint))

        return self._repeated(attempt)

    def _send(self, endpoint: str, parameters: Mapping[str, Parameter]) -> parse_account.Reply:
        """Send one private request, once; its errors are raised while the slot is still held."""
        with self._slots.take(call_cost(endpoint)) as nonce:
            self._calls += 1
            body = self._transport.send_private(endpoint, parameters, nonce=nonce)
            return parse_account.decode_reply(body, account=self._account, endpoint=endpoint)

    def _result_of(self, reply: parse_account.Reply, endpoint: str) -> object:
        if not reply.has_result:
            raise PayloadInvalidError(
                f"{endpoint}: expected a result, was missing", account=self._account, endpoint=endpoint
            )
        return reply.result

    def _repeated(self, attempt: Callable[[], Value], policy: RetryPolicy | None = None) -> Value:
        """Read and parse until both work, a bounded number of times; never used for a write."""
        policy = policy or self._retries
        first_seconds = policy.wait_first_seconds
        backoff = wait_exponential(first_seconds, max=policy.wait_max_seconds) + wait_random(0, first_seconds)

        def wait_seconds(state: RetryCallState) -> float:
            error = _error_of(state)
            is_rate_limited = isinstance(error, RateLimitedError)
            seconds = backoff(state) + (policy.wait_rate_limited_seconds if is_rate_limited else 0)
            if isinstance(error, ExchangeError) and error.not_before is not None:
                asked_seconds = (error.not_before - self._now()).total_seconds()
                return max(seconds, asked_seconds + random.uniform(0, first_seconds))  # noqa: S311 - no secret
            return seconds

        def is_exhausted(state: RetryCallState) -> bool:
            is_nonce = isinstance(_error_of(state), NonceRejectedError)
            attempts_max = policy.nonce_attempts_max if is_nonce else policy.attempts_max
            elapsed_seconds = (state.seconds_since_start or 0) + state.upcoming_sleep
            return state.attempt_number >= attempts_max or elapsed_seconds > policy.deadline_seconds

        def report(state: RetryCallState) -> None:
            logger.warning(
                "account %s: attempt %d failed, repeating in %.1f s: %s",
                self._account,
                state.attempt_number,
                state.upcoming_sleep,
                _error_of(state),
            )

        def count(state: RetryCallState) -> None:
            self._transport.resent = state.attempt_number - 1

        retrying = Retrying(
            retry=retry_if_exception(_may_pass_for_a_read),
            wait=wait_seconds,
            stop=is_exhausted,
            sleep=self._sleep,
            before=count,
            before_sleep=report,
            reraise=True,
        )
        try:
            return retrying(attempt)
        finally:
            self._transport.resent = 0


def _may_pass_for_a_read(error: BaseException) -> bool:
    return isinstance(error, PayloadInvalidError) or (isinstance(error, ExchangeError) and error.retryable)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _unix_seconds(moment: datetime | None) -> str | None:
    """Write a moment as exact unix seconds, never through a float."""
    if moment is None:
        return None
    microseconds = (moment - parse_account.EPOCH) // timedelta(microseconds=1)
    return f"{microseconds // 1_000_000}.{microseconds % 1_000_000:06d}"
