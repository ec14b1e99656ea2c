"""What is told past the tables: that the watch itself sees nothing.

An alert is a row. While the trading database does not answer none can be written or read, and nobody would
hear of the very trouble that ends all telling. So the watch keeps in mind when it last saw everything, and
says so by itself on every channel; each channel's own thread asks, so that a look that hangs is told of, too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_OID, uuid5

from kraken_recon.alerts.rules import Notification, TellingPolicy, TellingReason

if TYPE_CHECKING:
    from datetime import datetime

# A server that restarts is back before that.
BLIND_AFTER: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a channel was told last of a blindness that is not over for it."""

    since: datetime
    at: datetime
    reminders: int = 0


@dataclass
class Blindness:
    """Since when nothing was seen, and which channels know.

    Attributes:
        seen_at: when everything was last looked at; when the watch began, before the first time.
        cause: what the newest look that failed met, without a secret.
    """

    seen_at: datetime
    cause: str = "it has had no answer"
    _told: dict[str, _Told] = field(default_factory=dict)

    def due(self, channel: str, now: datetime) -> Notification | None:
        """Return what a channel must be told now: that it began, goes on, or is over."""
        told = self._told.get(channel)
        if now - self.seen_at < BLIND_AFTER:
            return None if told is None else self._message(TellingReason.RECOVERED, told, now)
        if told is None:
            return self._message(TellingReason.OPENED, _Told(self.seen_at, now), now)
        if now - told.at < TellingPolicy().reminder_after:
            return None
        return self._message(TellingReason.REMINDED, replace(told, reminders=told.reminders + 1), now)

    def arrived(self, channel: str, notification: Notification) -> None:
        """Keep that a channel took what was due."""
        told = self._told.pop(channel, None)
        if notification.reason != TellingReason.RECOVERED:
            reminders = 0 if told is None else told.reminders + 1
            self._told[channel] = _Told(self.seen_at, notification.created_at, reminders)

    def _message(self, reason: TellingReason, told: _Told, now: datetime) -> Notification:
        since = f"{told.since:%Y-%m-%d %H:%M:%S}Z"
        if reason is TellingReason.RECOVERED:
            subject = "the trading database answers the watch again"
            body = f"It had not since {since}. What was due meanwhile is told from now on."
        else:
            subject = "the trading database does not answer the watch: nobody is told of anything else"
            body = (
                f"The watch has seen nothing since {since}: {self.cause}. No account is proven, no order "
                "leaves and no alert is raised while the trading database does not answer. Is the server up, "
                "can it be reached, has its disk room, are its connections taken? docs/runbooks/alerts.md "
                "says more: When the database does not answer."
            )
        key = uuid5(NAMESPACE_OID, f"watch {told.since.isoformat()} {reason} {told.reminders}")
        return Notification(0, key, reason, f"[{reason}] {subject}", body, (), now, 0)
