"""What a person may choose when triggering a DAG, as the fields of Airflow's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import Param

from kraken_recon.orders.decisions import nearest

if TYPE_CHECKING:
    from collections.abc import Collection

SYNC_PARAMS: Final = {
    "accounts": Param(
        [],
        type=["null", "array"],  # a form field that may be left empty
        items={"type": "string", "minLength": 1},
        title="Accounts",
        description="Names of the accounts to reconcile, one per line. Empty: every active account.",
    ),
    "mode": Param(
        "repair",
        type="string",
        enum=["repair", "dry_run"],
        title="Mode",
        description="repair puts the database right; dry_run only records what a repair would do.",
    ),
    "tolerance": Param(
        "0.001",
        type="string",
        pattern=r"^[0-9]{1,20}(\.[0-9]{1,18})?$",
        title="Tolerance",
        description="An unexplained difference of at most this many units of an asset is recorded and left "
        "alone. A decimal number that is not negative, such as 0.001.",
    ),
    "sweep_age_hours": Param(
        24,
        type="integer",
        minimum=1,
        maximum=744,
        title="Sweep age (hours)",
        description="An account's ledger is read and proved in any case once its last proof is nearly this "
        "old, even if its balances agree: entries that cancel out show in no balance.",
    ),
}

AMOUNT: Final = r"^([0-9]{1,20}(\.[0-9]{1,18})?)?$"


def unknown_fields(given: Collection[str] | None, known: Collection[str]) -> str:
    """Name the given fields that a DAG with params does not have; empty if there are none."""
    if not known:
        return ""
    unknown = sorted(set(given or ()) - set(known))
    return "; ".join(f"{name}: there is no such field{nearest(name, known)}" for name in unknown)


def text(title: str, description: str, *, pattern: str | None = None) -> Param:
    """Make a field that may be left empty."""
    rules: dict[str, Any] = {"pattern": pattern} if pattern else {}
    return Param("", type=["null", "string"], title=title, description=description, **rules)


def choice(title: str, description: str, *values: str) -> Param:
    """Make a field with fixed values, the first of which is preset."""
    return Param(values[0], type="string", enum=list(values), title=title, description=description)


def flag(title: str, description: str) -> Param:
    """Make a field that is off unless it is switched on."""
    return Param(default=False, type="boolean", title=title, description=description)


ORDER_PARAMS: Final = {
    "account": text("Account", "Leave empty to decide nothing, and only work on what is there."),
    "pair": text("Pair", "Such as BTC/USD."),
    "side": choice("Side", "What to do with the base asset.", "", "buy", "sell"),
    "type": choice(
        "Type",
        "Empty: a limit order if a limit price is given, else a market order.",
        "",
        "market",
        "limit",
        "stop-loss",
        "take-profit",
    ),
    "volume": text("Volume", "In units of the base asset; or give a portion.", pattern=AMOUNT),
    "portion": text("Portion", "Of what is available, above 0 up to 1.", pattern=AMOUNT),
    "limit_price": text("Limit price", "Of a limit order, in the quote currency.", pattern=AMOUNT),
    "trigger_price": text("Trigger price", "Of a stop-loss or take-profit order.", pattern=AMOUNT),
    "expected_price": text("Expected price", "Bounds the price, and measures slippage.", pattern=AMOUNT),
    "valid_minutes": text(
        "Valid for minutes", "How old it may be when it leaves; empty: as it is set.", pattern=AMOUNT
    ),
    "time_in_force": choice(
        "Time in force",
        "Until cancelled, what fills at once, all at once or nothing, until a time.",
        "GTC",
        "IOC",
        "FOK",
        "GTD",
    ),
    "expires_at": text("Expires at", "With GTD: a time such as 2026-01-31T12:00:00Z."),
    "post_only": flag("Post only", "Never take from the book: Kraken refuses it instead."),
    "validate": flag("Dry run", "Kraken only checks it."),
    "source": choice("Source", "Who decided.", "manual", "matching", "ai"),
    "decision_key": text(
        "Key", "The same key and fields again are the same order, not another one. Empty: this run alone."
    ),
    "reason": text("Reason", "Why; kept with the order."),
    "ai_model": text("Model", "Which model decided; with source ai."),
    "ai_prompt_sha256": text("Hash of the prompt", "64 hexadecimal digits."),
    "ai_answer": text("Raw answer of the model", "Kept with the order, as it was given."),
}
