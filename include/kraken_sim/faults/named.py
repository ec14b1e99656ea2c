"""Named faults: what may go wrong, where, how often; every one that fires is written down.

Invariant: a fault is drawn once per opportunity, from its own seeded stream.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from kraken_sim.errors import ControlError

if TYPE_CHECKING:
    from collections.abc import Collection

#: Before the request is looked at: nothing has happened yet.
BEFORE: Final = (
    "fail_before_accept",
    "http_error",
    "reset",
    "redirect_302",
    "redirect_elsewhere",
    "throttled",
    "rate_limited",
    "invalid_nonce",
    "api_error",
)
#: After the answer was made: what is sent differs from what is true.
AFTER: Final = ("html_200", "truncated_json", "empty_body", "no_result", "warning")
#: To its bytes.
BYTES: Final = ("huge_body", "compressed_bomb", "trickle", "wrong_content")
#: To one field of it, from the envelope on.
FIELDS: Final = ("altered_field",)
#: To the answer's content.
CONTENT: Final = ("empty_balances", "partial_balances", "nan_amount", "extra_fields", "missing_fields")
#: To one page of a history.
PAGING: Final = (
    "insert_between_pages",
    "count_drift",
    "empty_page_early",
    "duplicate_row",
    "missing_page",
    "missing_row",
)
#: To what is written about one fill: the ledger rows differ from the trade.
LEDGER_WRONGS: Final = (
    "ledger_wrong_volume",
    "ledger_wrong_fee",
    "ledger_wrong_side",
    "ledger_missing_leg",
    "ledger_wrong_account",
)
#: The trade differs from its order.
TRADE_WRONGS: Final = (
    "trade_wrong_volume",
    "trade_wrong_fee",
    "trade_wrong_side",
    "trade_missing",
    "trade_wrong_account",
)
#: To the way of one request.
TRANSPORT: Final = ("slow", "hang", "reset_mid_answer", "accept_then_fail", "late_accept")
NAMES: Final = frozenset(
    {
        *(*BEFORE, *AFTER, *BYTES, *FIELDS, *CONTENT, *PAGING),
        *(*LEDGER_WRONGS, *TRADE_WRONGS, *TRANSPORT, "lag"),
    }
)

#: What may be said about each fault besides where and how often; a typo must not pass for an option.
OPTIONS: Final[dict[str, frozenset[str]]] = {
    "accept_then_fail": frozenset({"appearance", "seconds"}),
    "fail_before_accept": frozenset({"appearance", "seconds"}),
    "hang": frozenset({"seconds"}),
    "late_accept": frozenset({"appearance", "seconds", "after_seconds"}),
    "ledger_missing_leg": frozenset({"leg"}),
    "ledger_wrong_account": frozenset({"to_account"}),
    "ledger_wrong_fee": frozenset({"factor"}),
    "ledger_wrong_volume": frozenset({"factor"}),
    "trade_wrong_account": frozenset({"to_account"}),
    "trade_wrong_fee": frozenset({"factor"}),
    "trade_wrong_volume": frozenset({"factor"}),
    "altered_field": frozenset({"path", "how"}),
    "api_error": frozenset({"text", "executed"}),
    "compressed_bomb": frozenset({"encoding", "megabytes"}),
    "count_drift": frozenset({"by", "page"}),
    "duplicate_row": frozenset({"page"}),
    "empty_page_early": frozenset({"page"}),
    "http_error": frozenset({"status"}),
    "huge_body": frozenset({"megabytes"}),
    "insert_between_pages": frozenset({"rows", "asset", "page"}),
    "lag": frozenset({"view", "seconds"}),
    "missing_fields": frozenset({"fields"}),
    "missing_page": frozenset({"page"}),
    "missing_row": frozenset({"row", "page"}),
    "nan_amount": frozenset({"value"}),
    "partial_balances": frozenset({"assets"}),
    "redirect_elsewhere": frozenset({"status", "to"}),
    "reset": frozenset({"seconds"}),
    "slow": frozenset({"seconds"}),
    "throttled": frozenset({"seconds", "only_concurrent"}),
    "trickle": frozenset({"part", "seconds"}),
    "warning": frozenset({"text"}),
    "wrong_content": frozenset({"charset", "content_type"}),
}

#: What each fault does, for people.
EFFECTS: Final[dict[str, str]] = {
    "accept_then_fail": "the order is accepted, the answer lost; `appearance` is `timeout` (after "
    "`seconds`), `reset`, "
    "`502`, `504` or `520`",
    "fail_before_accept": "the same look, and nothing has happened",
    "late_accept": "the same look; by the account's clock the order reaches the engine `after_seconds` "
    "after it was "
    "sent, and obeys what holds then: its deadline, the funds, the market. `endpoint` may name another write",
    "hang": "done at once, and answered only after a silence of `seconds`",
    "reset_mid_answer": "done, and the line dropped halfway through the answer",
    "http_error": "a gateway page with this `status`; nothing happened",
    "reset": "the line dropped, at once or after `seconds`; nothing happened",
    "redirect_302": "a redirect; nothing happened",
    "redirect_elsewhere": "a redirect with this `status` (307) `to` another address, by default the "
    "simulator's own `/_sim/landed`; `GET /_sim/truth` lists who followed it, and whether with a key; "
    "nothing happened",
    "huge_body": "an answer that is followed by so many `megabytes` (200) of blanks",
    "compressed_bomb": "the same, packed by `encoding` `gzip`, `deflate` or `br` (which only looks so)",
    "trickle": "an answer that comes byte by byte, with `seconds` between them; with `part` `headers` or "
    "`chunks` its headers, or the line before its first chunk, never end",
    "wrong_content": "a true answer that says it is of another `content_type`, or is in another `charset`",
    "altered_field": "the field at `path` (`result.*.balance`; `*` is the first) is altered, `how`: "
    "`dropped`, `null`, `type`, `empty`, `zero`, `huge`, `tiny`, `endless`, `negative`, or `swapped` with "
    "the next",
    "slow": "waits first; an order whose client has given up is still taken, unless its deadline has passed",
    "api_error": "an error of your choice, `text`; with `executed` a write has happened all the same",
    "throttled": "refused as too fast, for `seconds`; with `only_concurrent` only calls at the same time",
    "rate_limited": "refused as over the limit, without cause",
    "invalid_nonce": "refused as an old nonce, without cause",
    "html_200": "a web page instead of an answer, at HTTP 200",
    "truncated_json": "an answer that is cut off",
    "empty_body": "nothing at all, at HTTP 200",
    "no_result": "an answer without errors and without a result",
    "warning": "an answer with a warning `text` besides its result",
    "extra_fields": "unknown `fields` appear",
    "missing_fields": "these optional `fields` vanish",
    "empty_balances": "an account that holds nothing",
    "partial_balances": "balances without these `assets`",
    "nan_amount": "a balance that is no number, or this `value`",
    "insert_between_pages": "new `rows` of this `asset` arrive before this `page` is read (pages count "
    "from 0)",
    "count_drift": "the history's count is off `by` this much",
    "empty_page_early": "this `page` is empty although there is more",
    "duplicate_row": "this `page` has a row twice",
    "missing_page": "this `page` is skipped",
    "missing_row": "this `page` lacks this `row`",
    "lag": "one `view` (`balance`, `ledger`, `trades` or `orders`) is out of date by `seconds`; with "
    "`order`, `trades` "
    "and `orders` miss that order only, while `ledger` and `balance` end before its first row that is "
    "held back, so "
    "that running balances never jump (`count`, `nth` and `probability` do not apply then)",
    "ledger_wrong_volume": "the ledger rows of a fill have this `factor` (1.1) of its volume; balances "
    "follow the ledger",
    "ledger_wrong_fee": "the ledger rows of a fill have this `factor` (2) of its fee",
    "ledger_wrong_side": "the ledger rows of a fill have the other sign",
    "ledger_missing_leg": "a fill has only one ledger row; the `leg` `base` or `quote` is missing",
    "ledger_wrong_account": "the ledger rows of a fill are booked `to_account`",
    "trade_wrong_volume": "the trade in the history has this `factor` of the volume; its order tells "
    "the truth",
    "trade_wrong_fee": "the trade in the history has this `factor` of the fee",
    "trade_wrong_side": "the trade in the history has the other side",
    "trade_missing": "the trade is not in the history",
    "trade_wrong_account": "the trade is in the history `to_account`",
}

WRITES: Final = frozenset(
    {
        "AddOrder",
        "AddOrderBatch",
        "AmendOrder",
        "EditOrder",
        "CancelOrder",
        "CancelOrderBatch",
        "CancelAll",
        "CancelAllOrdersAfter",
    }
)
_BALANCES: Final = frozenset({"Balance", "BalanceEx"})
_PAGED: Final = frozenset({"Ledgers", "TradesHistory", "ClosedOrders"})
#: Where a fault applies when no endpoint was named; absent means every private endpoint.
DEFAULT_ENDPOINTS: Final[dict[str, frozenset[str]]] = {
    "accept_then_fail": frozenset({"AddOrder"}),
    "fail_before_accept": frozenset({"AddOrder"}),
    "late_accept": frozenset({"AddOrder"}),
    "empty_balances": _BALANCES,
    "partial_balances": _BALANCES,
    "nan_amount": _BALANCES,
    **dict.fromkeys(PAGING, _PAGED),
}


@dataclass(slots=True)
class Fault:
    """One switch, with its options as given."""

    fault_id: int
    name: str
    probability: Decimal
    remaining: int | None
    endpoint: str | None
    account: str | None
    options: dict[str, Any]
    dice: random.Random = field(repr=False)
    order: str | None = None
    nth: int = 1
    met: int = 0
    fired: int = 0

    def strikes(self, about: Collection[str]) -> bool:
        """Tell whether it is this one's turn: the order that is meant, the n-th time, and the dice."""
        if self.order is not None and self.order not in about:
            return False
        self.met += 1
        return self.met >= self.nth and (
            self.probability >= 1 or Decimal(str(self.dice.random())) < self.probability
        )

    def matches(self, account: str, endpoint: str) -> bool:
        """Tell whether the fault is meant for this call."""
        if self.remaining == 0 or (self.account is not None and self.account != account):
            return False
        if self.endpoint is not None:
            return self.endpoint == endpoint
        default = DEFAULT_ENDPOINTS.get(self.name)
        return default is None or endpoint in default

    def wire(self) -> dict[str, Any]:
        """Describe the switch for the control API."""
        return {
            "id": self.fault_id,
            "name": self.name,
            "probability": str(self.probability),
            "remaining": self.remaining,
            "endpoint": self.endpoint,
            "account": self.account,
            "order": self.order,
            "nth": self.nth,
            "options": self.options,
            "fired": self.fired,
        }


class Faults:
    """Every switch that is set, and the record of what fired."""

    def __init__(self, seed: str) -> None:
        self.active: list[Fault] = []
        self.fired: list[dict[str, Any]] = []
        self._seed = seed
        self._made = 0

    def add(  # noqa: PLR0913 - the parts of one switch
        self,
        *,
        name: str,
        probability: Decimal,
        count: int | None,
        endpoint: str | None,
        account: str | None,
        options: dict[str, Any],
        order: str | None = None,
        nth: int = 1,
    ) -> Fault:
        """Set a switch.

        Raises:
            ControlError: for a name that no fault has, or an option that this fault does not know.
        """
        if name not in NAMES:
            raise ControlError(f"expected a fault out of {sorted(NAMES)}, was {name!r}")
        known = OPTIONS.get(name, frozenset())
        if unknown := options.keys() - known:
            raise ControlError(f"expected options of {name} out of {sorted(known)}, was {sorted(unknown)}")
        if name == "late_accept" and endpoint not in {None, *WRITES}:
            raise ControlError(f"expected an endpoint out of {sorted(WRITES)}, was {endpoint!r}")
        if name == "api_error":  # without a word about it nothing was executed
            options = {"executed": False} | options
        if options.get("only_concurrent") is False:
            options = {option: value for option, value in options.items() if option != "only_concurrent"}
        self._made += 1
        dice = random.Random(f"{self._seed}:fault:{self._made}")  # noqa: S311 - must be reproducible
        fault = Fault(self._made, name, probability, count, endpoint, account, options, dice, order, nth)
        self.active.append(fault)
        return fault

    def clear(self) -> None:
        """Take every switch back; what fired stays on record."""
        self.active.clear()

    def take(
        self,
        names: tuple[str, ...],
        account: str,
        endpoint: str,
        now: Decimal,
        *,
        about: Collection[str] = (),
        **wanted: object,
    ) -> Fault | None:
        """Draw the first fault with one of these names that strikes this call.

        Args:
            names: faults that make sense here.
            account: who calls.
            endpoint: what is called.
            now: when, for the record.
            about: what the orders that the call is about are called.
            wanted: options that a fault must have with this value, if it has them at all.
        """
        for fault in self.active:
            if fault.name not in names or not fault.matches(account, endpoint):
                continue
            if any(
                option in fault.options and fault.options[option] != value for option, value in wanted.items()
            ):
                continue
            if not fault.strikes(about):
                continue
            if fault.remaining is not None:
                fault.remaining -= 1
            self.note(fault, account, endpoint, now, about)
            return fault
        return None

    def note(
        self, fault: Fault, account: str, endpoint: str, now: Decimal, about: Collection[str] = ()
    ) -> None:
        """Write down that a fault struck."""
        fault.fired += 1
        record = {"time": str(now), "fault": fault.fault_id, "name": fault.name, "account": account}
        self.fired.append(record | {"endpoint": endpoint, "options": fault.options, "about": sorted(about)})

    def lags_of_orders(self, account: str, endpoint: str, view: str) -> list[Fault]:
        """List the lags that hold back single orders in a view."""
        return [
            fault
            for fault in self.active
            if fault.name == "lag"
            and fault.order is not None
            and fault.matches(account, endpoint)
            and fault.options.get("view", view) == view
        ]
