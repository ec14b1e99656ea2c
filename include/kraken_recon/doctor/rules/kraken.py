"""What is wrong with Kraken, with this machine's clock beside Kraken's, and with keys."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from kraken_recon.doctor.rules.diagnosis import not_checked, warning, well, wrong
from kraken_recon.doctor.rules.readings import KeyTrouble

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime

    from kraken_recon.doctor.rules.diagnosis import Diagnosis
    from kraken_recon.doctor.rules.readings import KeyReading, KrakenReading

CLOCK_NOTICED: Final = timedelta(seconds=1)
EXPIRY_NOTICED: Final = timedelta(days=14)
NAMED_MAX: Final = 5
_NOT_RECONCILED: Final = "This account is not reconciled, and its orders are not followed."
_STATUS_MEANINGS: Final = {
    "maintenance": "Kraken answers nothing that needs a key; runs fail and try again by themselves.",
    "cancel_only": "Orders can be cancelled and none placed; positions are reconciled.",
    "post_only": "Only orders that rest can be placed; positions are reconciled.",
}


def diagnose_kraken(readings: Sequence[KrakenReading], clock_allowed: timedelta) -> Iterator[Diagnosis]:
    """Say whether Kraken answers and what it does, and whether the clocks agree.

    Args:
        readings: one per address; none where no usable key says where to ask.
        clock_allowed: how far this machine's clock may be off, by the deadline of an order.
    """
    if not readings:
        yield not_checked("kraken", "no account has a usable connection here, so nothing says where to ask")
    for reading in readings:
        if not reading.status:
            yield wrong(
                "kraken",
                f"no answer from {reading.host}: {reading.told}",
                "No account can be reconciled, and no order leaves.",
                "Look at status.kraken.com, and at the way out of this machine: proxy, firewall, DNS.",
            )
        elif reading.status != "online":
            yield wrong(
                "kraken",
                f"{reading.host} says of itself: {reading.status}",
                _STATUS_MEANINGS.get(reading.status, "Orders may be refused."),
                "Wait for it: status.kraken.com",
            )
        else:
            yield well("kraken", f"{reading.host} is online")
        if reading.clock_ahead is not None:
            yield _clock(reading.clock_ahead, clock_allowed)


def _clock(ahead: timedelta, allowed: timedelta) -> Diagnosis:
    if abs(ahead) < CLOCK_NOTICED:
        return well("clock", "this machine's clock agrees with Kraken's")
    side = "ahead of" if ahead > timedelta(0) else "behind"
    what = f"this machine's clock is {abs(ahead).total_seconds():.0f} s {side} Kraken's"
    remedy = "Set it: `timedatectl`, `chronyc tracking`; in a container, its host's."
    if abs(ahead) <= allowed:
        return warning("clock", what, "Orders still leave in time; it may get worse.", remedy)
    return wrong(
        "clock", what, "No order is sent: its deadline would not mean to Kraken what it says.", remedy
    )


def diagnose_keys(  # noqa: PLR0913 - all but one by name
    readings: Sequence[KeyReading],
    *,
    not_reached: Sequence[str],
    traders: Collection[str],
    known_trouble: Collection[str],
    in_airflow: Collection[str],
    now: datetime,
) -> Iterator[Diagnosis]:
    """Say of each account's key what is wrong with it, and tell the good ones together.

    Args:
        readings: one per active account.
        not_reached: accounts for which there was no time.
        traders: accounts whose key has to be able to trade.
        known_trouble: accounts whose trouble is known: it is told as a warning.
        in_airflow: connections that Airflow keeps itself.
        now: the moment of the reading.
    """
    good = []
    for reading in readings:
        found = [_told(reading, in_airflow)] if reading.trouble else list(_judged(reading, traders, now))
        for one in found:
            is_known = reading.account in known_trouble
            yield warning(one.check, f"{one.what} (known)", one.meaning, one.remedy) if is_known else one
        if not found:
            good.append(reading)
    yield from _shared_keys(readings)
    if good:
        trading = sum(reading.may_trade for reading in good)
        what = f"{len(good)} {'key' if len(good) == 1 else 'keys'} may do what is needed and cannot withdraw"
        yield well("keys", f"{what}; {trading} may trade")
    if not_reached:
        told = ", ".join(sorted(not_reached)[:NAMED_MAX])
        more = " and others" if len(not_reached) > NAMED_MAX else ""
        what = f"{len(not_reached)} keys had no answer in time: {told}{more}"
        yield not_checked("keys", what, "python -m kraken_recon check-key CONNECTION")
    elif not readings:
        yield not_checked("keys", "there is no active account", "python -m kraken_recon account add --help")


def _told(reading: KeyReading, in_airflow: Collection[str]) -> Diagnosis:
    check = f"key of {reading.account}"
    page = "docs/how-to/add-an-account.md"
    if reading.trouble is KeyTrouble.MISSING:
        if reading.connection in in_airflow:
            where = f"Admin > Connections > {reading.connection} > Test"
            return not_checked(
                check, f"Airflow keeps {reading.connection} to itself", f"Try it there: {where}"
            )
        remedy = f"{reading.told}; or ask where keys are, such as in worker-exchange: {page}"
        what = f"its connection {reading.connection} does not exist here"
        return wrong(f"connection of {reading.account}", what, _NOT_RECONCILED, remedy)
    if reading.trouble is KeyTrouble.UNUSABLE:
        return wrong(f"connection of {reading.account}", reading.told, _NOT_RECONCILED, page)
    if reading.trouble is KeyTrouble.REFUSED:
        remedy = f"Copy both halves of the key again: `python -m kraken_recon check-key {reading.connection}`"
        return wrong(check, f"Kraken refuses it: {reading.told}", _NOT_RECONCILED, remedy)
    if reading.trouble is KeyTrouble.BUSY:
        return not_checked(check, f"others are using it just now: {reading.told}", "Ask again in a minute.")
    return not_checked(check, reading.told, f"python -m kraken_recon check-key {reading.connection}")


def _judged(reading: KeyReading, traders: Collection[str], now: datetime) -> Iterator[Diagnosis]:
    check = f"key of {reading.account}"
    if reading.to_change:
        what = f"its rights are not as they should be: {'; '.join(reading.to_change)}"
        remedy = "Change them at Kraken, under Settings > API; then `python -m kraken_recon check-key "
        yield wrong(check, what, "The account is refused until they are.", f"{remedy}{reading.connection}`")
    if reading.account in traders and not reading.may_trade:
        yield wrong(
            check,
            "it may not place and cancel orders, and the account has orders",
            "Orders that are decided for it are refused, and open ones cannot be cancelled from here.",
            "Add modify-trades and close-trades to the key at Kraken, or decide no orders for it.",
        )
    if reading.valid_until and now < reading.valid_until <= now + EXPIRY_NOTICED:
        what = f"it expires at {reading.valid_until.isoformat()}"
        yield warning(check, what, _NOT_RECONCILED, "Make a new key at Kraken: docs/how-to/add-an-account.md")


def _shared_keys(readings: Sequence[KeyReading]) -> Iterator[Diagnosis]:
    accounts: dict[str, list[str]] = defaultdict(list)
    for reading in readings:
        if reading.fingerprint:
            accounts[reading.fingerprint].append(reading.account)
    for names in accounts.values():
        if len(names) > 1:
            yield wrong(
                "keys",
                f"{', '.join(sorted(names))} use one key",
                "They are one account at Kraken: all it holds is counted more than once.",
                "Give each account a key of its own, or `python -m kraken_recon account pause` all but one.",
            )
