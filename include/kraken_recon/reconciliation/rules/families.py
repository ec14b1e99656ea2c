"""The wallets of one asset as a family: what Kraken shows of it in one place, and what it leaves out.

``.F``, ``.S``, ``.M`` and the like are wallets of the base asset; Kraken may fold one into the plain code
while its ledger still tells of moves between them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from kraken_recon.ledger.entries import SPOT, Balance, HoldingKey
from kraken_recon.values.money import ZERO, exact_arithmetic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from kraken_recon.reconciliation.rules.evidence import Evidence


@exact_arithmetic()
def folded_balances(evidence: Evidence) -> tuple[dict[HoldingKey, Decimal], dict[HoldingKey, Decimal]]:
    """Find what of each holding Kraken shows under another wallet of the same asset.

    Either the sum over all wallets agrees (the second answer: nothing else differs), or wallets are gone from
    the reply and the plain code (Kraken's changelog of 13 November 2025) or another wallet shows more: then
    what they held is in it, and only the rest is a difference.
    """
    families: dict[str, dict[HoldingKey, Decimal]] = {}
    told_otherwise: set[str] = set()
    for key, recorded in evidence.recorded.items():
        ingested = sum((entry.change for entry in evidence.ingested.get(key, ())), ZERO)
        balance = evidence.balances.get(key)
        surplus = (balance.balance if balance else ZERO) - recorded.expected - ingested
        families.setdefault(key.asset, {})[key] = surplus
        if surplus + recorded.adjustment_total:
            told_otherwise.add(key.asset)
    folded: dict[HoldingKey, Decimal] = {}
    neutral: dict[HoldingKey, Decimal] = {}
    for asset, family in families.items():
        if asset not in told_otherwise:
            # What the ledger alone says is what Kraken shows: earlier repairs are taken back.
            continue
        gone = {
            key: surplus
            for key, surplus in family.items()
            if key.wallet != SPOT and surplus < ZERO and _is_absent(evidence, key)
        }
        if sum(family.values()) == ZERO:
            neutral |= {key: surplus for key, surplus in family.items() if surplus}
        elif gone and (inside := _shown_in(family, asset, -sum(gone.values(), ZERO))):
            folded |= gone | {inside: -sum(gone.values(), ZERO)}
    return folded | neutral, neutral


def _shown_in(family: Mapping[HoldingKey, Decimal], asset: str, gone: Decimal) -> HoldingKey | None:
    """Find the wallet that shows what is gone: the plain code, or one that shows about as much more.

    Kraken may have one name for several earning wallets, of which a file knew each. About as much is what is
    nearer to it than to nothing.
    """
    plain = HoldingKey(asset, SPOT)
    if family.get(plain, ZERO) > ZERO:
        return plain
    most = max(family, key=lambda key: family[key])
    return most if abs(family[most] - gone) < family[most] else None


def _is_absent(evidence: Evidence, key: HoldingKey) -> bool:
    return key not in evidence.balances or not evidence.balances[key].balance


@exact_arithmetic()
def unfolded(
    balances: Mapping[HoldingKey, Balance], folded: Mapping[HoldingKey, Decimal]
) -> dict[HoldingKey, Balance]:
    """Write balances as if Kraken showed each wallet by itself."""
    nothing = Balance(ZERO, ZERO, ZERO, ZERO)
    parted = {
        key: replace(found, balance=found.balance - surplus)
        for key, surplus in folded.items()
        for found in [balances.get(key, nothing)]
    }
    return {**balances, **parted}


@exact_arithmetic()
def missing_holdings(evidence: Evidence) -> tuple[str, ...]:
    """Name the assets that the reply leaves out although Kraken's own ledger still holds some.

    An asset may be absent from a balance reply only when its family of wallets ends in zero; otherwise the
    reply is partial, and nothing may be concluded from it. Not so where just as much of another asset, of
    which the ledger knows nothing, is in the reply: Kraken gave the asset a new code (``LUNA`` became
    ``LUNC``). Both are then residuals, which a person decides on.
    """
    held: dict[str, Decimal] = {}
    for key, recorded in evidence.recorded.items():
        ingested = sum((entry.change for entry in evidence.ingested.get(key, ())), ZERO)
        held[key.asset] = held.get(key.asset, ZERO) + recorded.ledger_total + ingested
    absent = {asset for asset, quantity in held.items() if quantity}
    absent -= {key.asset for key in evidence.balances}
    if not absent:
        return ()
    reported: dict[str, Decimal] = {}
    for key, balance in evidence.balances.items():
        reported[key.asset] = reported.get(key.asset, ZERO) + balance.balance
    new = Counter(total for asset, total in reported.items() if total and held.get(asset) == ZERO)
    missing = []
    for asset in sorted(absent):
        if new[held[asset]]:
            new[held[asset]] -= 1
        else:
            missing.append(asset)
    return tuple(missing)
