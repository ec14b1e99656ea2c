"""What a broken answer looks like: gateway pages, cut bodies, missing and strange content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kraken_sim.http.wire import encode

if TYPE_CHECKING:
    from kraken_sim.faults.named import Fault

OPTIONAL_FIELDS: Final = ("subtype", "maker", "reason", "ml", "trade_id", "cl_ord_id", "leverage")
DESCRIBING_FIELDS: Final = frozenset({"balance", "refid", "ordertxid", "altname", "eb", "apiKey"})
AMOUNT_FIELDS: Final = ("balance", "amount", "vol", "cost")


def gateway_page(status: int) -> str:
    """Write the page of a proxy that could not reach anyone."""
    return (
        f"<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center>"
        "<hr><center>cloudflare</center></body></html>"
    )


def spoil_body(fault: Fault, text: str) -> str:
    """Replace or cut a finished answer."""
    match fault.name:
        case "html_200":
            return gateway_page(200)
        case "truncated_json":
            return text[: max(1, len(text) * 2 // 3)]
        case "empty_body":
            return ""
        case "no_result":
            return '{"error":[]}'
        case _:
            warning = encode([str(fault.options.get("text", "WGeneral:Simulated warning"))])
            return text.replace('{"error":[]', f'{{"error":{warning}', 1)


def spoil_content(fault: Fault, result: dict[str, Any]) -> dict[str, Any]:
    """Change what an answer says."""
    match fault.name:
        case "empty_balances":
            return {}
        case "partial_balances":
            dropped = fault.options.get("assets") or list(result)[1::2]
            return {asset: row for asset, row in result.items() if asset not in dropped}
        case "nan_amount":
            return _with_strange_amount(result, str(fault.options.get("value", "NaN")))
        case "extra_fields":
            return _with_extra(result)
        case _:
            return _without(result, tuple(fault.options.get("fields") or OPTIONAL_FIELDS))


def _with_strange_amount(result: dict[str, Any], value: str) -> dict[str, Any]:
    """Spoil the first amount that is found, however deep."""
    spoiled = dict(result)
    for name, item in result.items():
        if isinstance(item, dict):
            inner = _with_strange_amount(item, value)
            if inner != item:
                spoiled[name] = inner
                return spoiled
        elif isinstance(item, str) and (name in AMOUNT_FIELDS or _is_amount(item)):
            spoiled[name] = value
            return spoiled
    return spoiled


def _is_amount(text: str) -> bool:
    return text.replace(".", "", 1).lstrip("-").isdigit()


def _with_extra(item: dict[str, Any]) -> dict[str, Any]:
    """Add an unknown field to every object that describes one thing; a map of balances is none."""
    inner = {name: _with_extra(value) if isinstance(value, dict) else value for name, value in item.items()}
    return inner | {"simulated_field": "1"} if DESCRIBING_FIELDS.intersection(item) else inner


def _without(item: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: _without(value, names) if isinstance(value, dict) else value
        for name, value in item.items()
        if name not in names
    }
