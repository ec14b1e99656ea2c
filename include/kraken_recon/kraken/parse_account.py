"""Kraken's JSON into domain values, strictly.

Invariants:
1. An amount is a JSON string of plain decimal digits. A JSON number in its place is refused: somewhere on
   its way it may have been a binary float.
2. Anything that is not what Kraken documents raises ``PayloadInvalidError`` with the endpoint and the field,
   and at most a few characters of the value. Fields that are not known here are ignored.
3. A repeated JSON key is refused: one of the two values would be lost without a trace.
4. A text is one line of at most ``TEXT_CHARACTERS_MAX`` characters that PostgreSQL and UTF-8 can hold.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import msgspec

from kraken_recon.errors import ExchangeUnavailableError, PayloadInvalidError
from kraken_recon.kraken.error_codes import WRITES, error_from_codes
from kraken_recon.ledger.asset_names import parse_kraken_code
from kraken_recon.ledger.entries import Balance
from kraken_recon.orders.rules.sizing import VENUE_MARK, is_international
from kraken_recon.plain_text import is_plain, one_line
from kraken_recon.values.money import PLAIN_AMOUNT, ZERO, parse_plain_amount

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from kraken_recon.ledger.entries import HoldingKey

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
_NESTED: Final = frozenset({dict, list})
_QUICK_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_PER_SECOND: Final = Decimal(1_000_000)
UNIX_SECONDS_MAX: Final = Decimal(100_000_000_000)  # the year 5138
_SHOWN_CHARACTERS_MAX: Final = 40
TEXT_CHARACTERS_MAX: Final = 500
ODD_PAIRS_NAMED_MAX: Final = 10
ABSENT: Final = object()
Field = str | tuple[str, str]
"""What a part of an answer is called; a place and a name in it, put together only where one is refused."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer without errors; Kraken may leave ``result`` out altogether."""

    result: object
    has_result: bool


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What ``GetApiKeyInfo`` says of a key; None where no limit is set."""

    name: str
    permissions: frozenset[str]
    query_from: datetime | None
    query_to: datetime | None
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class Pair:
    """A market, by normalised asset names; ``venue`` is None where Kraken names none."""

    base: str
    quote: str
    venue: str | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """Checked access to the parts of one answer."""

    account: str
    endpoint: str

    def refuse(self, field: Field, expected: str, value: object) -> NoReturn:
        """Raise with the field's name and a short sight of its value."""
        name = field if isinstance(field, str) else ".".join(field)
        if value is ABSENT:
            was = "missing"
        elif isinstance(value, (dict, list)):
            was = f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
        else:
            was = repr(value)[:_SHOWN_CHARACTERS_MAX]
        self.fail(f"expected {name} to be {expected}, was {was}")

    def fail(self, problem: str) -> NoReturn:
        """Raise with what is wrong, of which names of Kraken's choosing, as long as it likes, are a part."""
        message = f"{self.endpoint}: {one_line(problem, TEXT_CHARACTERS_MAX)}"
        raise PayloadInvalidError(message, account=self.account, endpoint=self.endpoint)

    def mapping(self, value: object, field: Field) -> dict[str, Any]:
        """Read an object."""
        if not isinstance(value, dict):
            self.refuse(field, "an object", value)
        return value

    def text(self, value: object, field: Field) -> str:
        """Read text without control characters."""
        if not isinstance(value, str) or not is_plain(value):
            self.refuse(field, "plain text", value)
        if len(value) > TEXT_CHARACTERS_MAX:
            self.refuse(field, f"at most {TEXT_CHARACTERS_MAX} characters", value)
        return value

    def name(self, value: object, field: Field) -> str:
        """Read text that is not empty."""
        if not (name := self.text(value, field)):
            self.refuse(field, "a name", value)
        return name

    def choice(self, value: object, field: Field, choices: Collection[str], expected: str) -> str:
        """Read one of a few words."""
        if not isinstance(value, str) or value not in choices:
            self.refuse(field, expected, value)
        return value

    def listing(self, value: object, field: Field, expected: str) -> list[Any]:
        """Read a list."""
        if not isinstance(value, list):
            self.refuse(field, expected, value)
        return value

    def amount(self, value: object, field: Field) -> Decimal:
        """Read an exact amount; a number of JSON is refused."""
        try:
            amount = parse_plain_amount(value) if isinstance(value, str) else None
        except ValueError:
            self.refuse(field, "an amount of at most 20+18 digits", value)
        if amount is None:
            self.refuse(field, "a decimal string", value)
        return amount

    def time(self, value: object, field: Field) -> datetime:
        """Read unix seconds as number or text; what is finer than a microsecond is cut off."""
        if isinstance(value, str) and PLAIN_AMOUNT.fullmatch(value):
            value = Decimal(value)
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            self.refuse(field, "unix seconds", value)
        if not ZERO < value < UNIX_SECONDS_MAX:
            self.refuse(field, "unix seconds", value)
        return from_unix_seconds(value)

    def optional_time(self, value: object, field: Field) -> datetime | None:
        """Read a limit of a key: unix seconds as text or number; empty, 0 and null mean none."""
        if value in (None, "", 0, "0"):
            return None
        return self.time(value, field)


def from_unix_seconds(seconds: Decimal | int) -> datetime:
    """Read a time after 1970; what is finer than a microsecond is cut off."""
    return EPOCH + timedelta(0, 0, int(seconds * _MICROSECONDS_PER_SECOND))


def decode_reply(body: bytes, *, account: str, endpoint: str) -> Reply:
    """Open Kraken's envelope.

    Raises:
        PayloadInvalidError: the body is not Kraken's envelope in JSON.
        ExchangeError: the subclass that the ``error`` list stands for.
    """
    fields = _decoded(body, Reader(account, endpoint))
    codes = _codes(fields, Reader(account, endpoint))
    failure = error_from_codes(codes, account=account, endpoint=endpoint)
    if failure is not None and endpoint in WRITES and fields.get("result"):
        # Refused and done at once: only Kraken's books can tell.
        raise ExchangeUnavailableError(
            f"{failure}; yet a result came with it", account=account, endpoint=endpoint, codes=failure.codes
        )
    if failure is not None:
        raise failure
    return Reply(result=fields.get("result"), has_result="result" in fields)


def decode_funding_reply(body: bytes, *, account: str, endpoint: str) -> object:
    """Open an answer of the Funding (Beta) API, which may come with an envelope or without.

    Raises:
        PayloadInvalidError: the body is no object in JSON.
        ExchangeError: the subclass that the ``error`` list stands for.
    """
    read = Reader(account, endpoint)
    fields = _decoded(body, read)
    if "error" in fields and (
        failure := error_from_codes(_codes(fields, read), account=account, endpoint=endpoint)
    ):
        raise failure
    return fields.get("result", fields)


def _decoded(body: bytes, read: Reader) -> dict[str, Any]:
    return read.mapping(_decoded_quickly(body) or _decoded_with_care(body, read), "the reply")


def _decoded_quickly(body: bytes) -> object:
    """Decode JSON in which no name is repeated; None for any other.

    Every name that was sent has a colon of its own. Of two values under one name this decoder keeps one: then
    there are more colons than names.
    """
    try:
        value = _QUICK_DECODER.decode(body)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return value if body.count(b":") == _names_in(value) else None


def _names_in(value: object) -> int:
    """Count the names in the objects of a decoded value, however deep."""
    names, level = 0, [value]
    while level:
        objects = [part for part in level if isinstance(part, dict)]
        names += sum(map(len, objects))
        inner = [*map(dict.values, objects), *(part for part in level if isinstance(part, list))]
        is_deepest = _NESTED.isdisjoint(map(type, chain.from_iterable(inner)))
        level = [] if is_deepest else [*chain.from_iterable(inner)]
    return names


def _decoded_with_care(body: bytes, read: Reader) -> object:
    try:
        return json.loads(
            body,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_keys,
        )
    except _StrictnessError as error:
        read.fail(str(error))
    except (ValueError, ArithmeticError, RecursionError) as error:
        read.refuse("the reply", f"JSON ({type(error).__name__})", f"{len(body)} bytes")


def _codes(fields: Mapping[str, Any], read: Reader) -> list[str]:
    codes = read.listing(fields.get("error", ABSENT), "error", "a list of strings")
    for code in codes:
        if not isinstance(code, str) or not code.startswith(("E", "W")):
            read.refuse("error", "a list of E... and W... strings", code)
    return codes


def parse_balances(result: object, *, account: str = "") -> dict[HoldingKey, Balance]:
    """Read the result of ``BalanceEx``.

    Two codes of one holding (``XXBT`` beside ``BTC``) are not added up: during a rename Kraken might show one
    amount under both names. They are refused, unless all but one are zero.
    """
    read = Reader(account, "BalanceEx")
    balances: dict[HoldingKey, Balance] = {}
    codes: dict[HoldingKey, str] = {}
    for code, value in read.mapping(result, "result").items():
        key = parse_kraken_code(read.name(code, "an asset code"))
        balance = _parse_balance(read, value, code)
        seen = balances.get(key)
        if seen is None or _is_zero(seen):
            balances[key], codes[key] = balance, code
        elif not _is_zero(balance):
            read.fail(f"result.{code}: a second balance of {key} beside result.{codes[key]}")
    return balances


def parse_key_info(result: object, *, account: str = "") -> KeyInfo:
    """Read the result of ``GetApiKeyInfo``, whose times are strings."""
    read = Reader(account, "GetApiKeyInfo")
    info = read.mapping(result, "result")
    permissions = read.listing(info.get("permissions", ABSENT), "result.permissions", "a list of names")
    return KeyInfo(
        name=read.text(info.get("apiKeyName", ""), "result.apiKeyName"),
        permissions=frozenset(read.name(name, "result.permissions") for name in permissions),
        query_from=read.optional_time(info.get("queryFrom"), "result.queryFrom"),
        query_to=read.optional_time(info.get("queryTo"), "result.queryTo"),
        valid_until=read.optional_time(info.get("validUntil"), "result.validUntil"),
    )


def pair_by_pair(
    read: Reader, result: object, parse: Callable[[Reader, str, dict[str, Any]], Value]
) -> tuple[dict[str, Value], dict[str, str]]:
    """Read a map of pairs, dark pools (``.d``) left out; one that makes no sense is told apart, by its id.

    Raises:
        PayloadInvalidError: no pair of several makes sense, so it is the reply that does not.
    """
    pairs: dict[str, Value] = {}
    odd: dict[str, str] = {}
    for pair_id, value in read.mapping(result, "result").items():
        if pair_id.endswith(".d"):
            continue
        try:
            name = read.name(pair_id, "a pair id")
            pairs[name] = parse(read, name, read.mapping(value, f"result.{pair_id}"))
        except PayloadInvalidError as error:
            odd[one_line(pair_id)] = str(error)
            problem = error
    if odd and not pairs:
        raise problem
    if odd:
        some = ", ".join(sorted(odd)[:ODD_PAIRS_NAMED_MAX])
        logger.warning(
            "%s: %d of %d pairs make no sense and are left out: %s",
            read.endpoint,
            len(odd),
            len(odd) + len(pairs),
            some,
        )
    return pairs, odd


def parse_pair(read: Reader, pair_id: str, fields: dict[str, Any]) -> Pair:
    """Read the assets and the venue of one market."""
    base, quote = (
        parse_kraken_code(read.name(fields.get(side, ABSENT), f"result.{pair_id}.{side}")).asset
        for side in ("base", "quote")
    )
    # An id such as XBTUSD:BTNL names a venue, too.
    told = fields.get("execution_venue") or pair_id.partition(VENUE_MARK)[2]
    venue = read.name(told, f"result.{pair_id}.execution_venue").strip().lower() if told != "" else None
    return Pair(base, quote, venue)


def parse_pairs(result: object, *, account: str = "") -> dict[str, Pair]:
    """Read the result of ``AssetPairs``: the international markets by Kraken's pair id."""
    pairs, _ = pair_by_pair(Reader(account, "AssetPairs"), result, parse_pair)
    return {pair_id: pair for pair_id, pair in pairs.items() if is_international(pair.venue)}


def parse_assets(result: object, *, account: str = "") -> frozenset[str]:
    """Read the result of ``Assets``: what Kraken knows, by our names."""
    read = Reader(account, "Assets")
    known = set()
    for asset_id, fields in read.mapping(result, "result").items():
        read.mapping(fields, f"result.{asset_id}")
        known.add(parse_kraken_code(read.name(asset_id, "an asset id")).asset)
    return frozenset(known)


def parse_server_time(result: object, *, account: str = "") -> datetime:
    """Read the result of ``Time``."""
    read = Reader(account, "Time")
    return read.time(read.mapping(result, "result").get("unixtime", ABSENT), "result.unixtime")


def parse_system_status(result: object, *, account: str = "") -> str:
    """Read the result of ``SystemStatus``: ``online``, ``maintenance``, ``cancel_only`` or ``post_only``."""
    read = Reader(account, "SystemStatus")
    return read.name(read.mapping(result, "result").get("status", ABSENT), "result.status")


def parse_last_prices(result: object, *, account: str = "") -> dict[str, Decimal]:
    """Read the result of ``Ticker``: the price of the last trade by pair id."""
    return pair_by_pair(Reader(account, "Ticker"), result, _parse_last_price)[0]


def _parse_last_price(read: Reader, pair_id: str, fields: dict[str, Any]) -> Decimal:
    field, expected = f"result.{pair_id}.c", "a list of price and volume"
    last = read.listing(fields.get("c", ABSENT), field, expected)
    if not last:
        read.refuse(field, expected, last)
    return read.amount(last[0], field)


def prices_in(
    quote: str, pairs: Mapping[str, Pair], last_prices: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    """Combine markets and last trades into prices by asset; an asset that never traded has none.

    The quote is worth one of itself; an asset that only quotes it (euros, for dollars) is priced backwards.
    """
    # Where two markets price one asset, the choice does not hang on the order of a reply.
    traded = [
        (pairs[name], last_prices[name])
        for name in sorted(pairs, reverse=True)
        if last_prices.get(name, ZERO) > ZERO
    ]
    backwards = {pair.quote: 1 / price for pair, price in traded if pair.base == quote}
    forwards = {pair.base: price for pair, price in traded if pair.quote == quote}
    return {**backwards, **forwards, quote: Decimal(1)}


class _StrictnessError(Exception):
    """The reply is JSON to others and none to us; says why."""


def _refuse_constant(name: str) -> NoReturn:
    raise _StrictnessError(f"expected numbers to be finite, was {name}")


def _unique_keys(members: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(members)
    if len(fields) < len(members):
        times = Counter(name for name, _ in members)
        twice = next(name for name in times if times[name] > 1)
        raise _StrictnessError(f"expected each name once in an object, was twice {twice!r}")
    return fields


def _parse_balance(read: Reader, value: object, code: str) -> Balance:
    field = f"result.{code}"
    fields = read.mapping(value, field)
    return Balance(
        balance=read.amount(fields.get("balance", ABSENT), (field, "balance")),
        hold_trade=read.amount(fields.get("hold_trade", ABSENT), (field, "hold_trade")),
        # Kraken sends these two only to accounts with a credit line.
        credit=read.amount(fields.get("credit", "0"), (field, "credit")),
        credit_used=read.amount(fields.get("credit_used", "0"), (field, "credit_used")),
    )


def _is_zero(balance: Balance) -> bool:
    return not any((balance.balance, balance.hold_trade, balance.credit, balance.credit_used))
