"""The Funding (Beta) API: deposits and withdrawals, with their state; a key that may query funds reads it.

Its requests are GETs with the nonce in a header, signed over the path with its query; its answers have no
envelope unless they are refusals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_sim.amounts import fixed
from kraken_sim.endpoints.public import moment
from kraken_sim.endpoints.units import multiplier
from kraken_sim.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from kraken_sim.account.account import Transfer
    from kraken_sim.endpoints.call import Call

LIMIT_MAX: Final = 500
LIMIT: Final = 25
STATES: Final = {
    "deposit": {"pending": "pending", "done": "success", "reversed": "failure", "failed": "failure"},
    "withdrawal": {"pending": "pending", "done": "success", "reversed": "failed", "failed": "failed"},
}


def _listing(call: Call, kind: Literal["deposit", "withdrawal"]) -> dict[str, Any]:
    """List transfers of one kind, newest first, a page at a time; the cursor is where the next one begins."""
    limit, begins = (_whole(call, name, default) for name, default in (("limit", LIMIT), ("cursor", 0)))
    if not 0 < limit <= LIMIT_MAX:
        raise ApiError("EGeneral:Invalid arguments:limit")
    now = call.account.clock.now()
    found = [t for t in call.account.transfers.values() if t.kind == kind and t.requested <= now][::-1]
    if wanted := call.parameters.get("status"):
        found = [transfer for transfer in found if _status(transfer) == wanted]
    page: dict[str, Any] = {f"{kind}s": [_wire(call, t) for t in found[begins : begins + limit]]}
    if begins + limit < len(found):
        page["next_cursor"] = str(begins + limit)
    return page


def _whole(call: Call, name: str, default: int) -> int:
    text = call.parameters.get(name, str(default))
    if not text.isdigit():
        raise ApiError(f"EGeneral:Invalid arguments:{name}")
    return int(text)


def _status(transfer: Transfer) -> str:
    if transfer.is_held and transfer.state == "pending":
        return "on_hold"
    return STATES[transfer.kind][transfer.state]


def _wire(call: Call, transfer: Transfer) -> dict[str, Any]:
    reference = call.account.reference
    wire = reference.assets.get(transfer.asset, {})
    asset = {
        "class": reference.asset_class(transfer.asset),
        "name": str(wire.get("altname", transfer.asset)),
    }
    decimals, factor = reference.decimals(transfer.asset), multiplier(call, transfer.asset)
    return {
        f"{transfer.kind}_id": transfer.refid,
        "status": _status(transfer),
        "amount": {"asset": asset, "amount": fixed(transfer.amount * factor, decimals)},
        "fee": {"asset": asset, "amount": fixed(transfer.fee * factor, decimals)},
        "create_time": f"{moment(transfer.requested):%Y-%m-%dT%H:%M:%SZ}",
    }


ENDPOINTS: Final[dict[str, Callable[[Call], dict[str, Any]]]] = {
    "deposits": lambda call: _listing(call, "deposit"),
    "withdrawals": lambda call: _listing(call, "withdrawal"),
}
