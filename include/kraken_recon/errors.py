"""The errors of the project, sorted by what to do about them.

Whether a task tries again follows from ``retryable``; docs/reference/errors.md shows the whole tree.
A finding (drift, a leak, an unverified order) is a row, never an exception.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from kraken_recon.plain_text import one_line, visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID


CODES_KEPT_MAX: Final = 10


class KrakenReconError(Exception):
    """Any failure of this project to do its work.

    What cannot be kept or would hide something is shown as an escape: every message may go into a row.

    Attributes:
        retryable: whether the same call may succeed later without anybody acting.
        remedy: what a person can do.
    """

    retryable: ClassVar[bool] = False
    remedy: ClassVar[str] = "Read the message; it names what failed."

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))


class ConfigurationError(KrakenReconError):
    """Something a person set is missing or wrong; the message says what to change."""

    remedy = "Change what the message names: a connection, a key at Kraken, a variable, a parameter."


class NotOnRecordError(ConfigurationError):
    """What was named is not on record: there is no such account, asset, order or alert."""

    remedy = "Look for another spelling; `python -m kraken_recon account list` names the accounts."


class ClockOffError(ConfigurationError):
    """This machine's clock differs from Kraken's by more than a deadline allows; nothing was sent."""

    remedy = "Set the machine's clock (`timedatectl`, `chronyc tracking`); what is decided is placed then."


class DirectConnectionNeededError(ConfigurationError):
    """A pooler lends sessions by the transaction, and this work needs one of its own; nothing was done."""

    remedy = (
        "Add the Airflow connection `trading_db_direct` (for the command line `KRAKEN_RECON_DIRECT_DSN`) "
        "that leads past the pooler, or let it pool by session: docs/how-to/run-behind-a-pooler.md."
    )


class ImportRefusedError(ConfigurationError):
    """A file is broken or does not fit what is recorded; the message says where. Nothing was written."""

    remedy = "See *When a file is refused* in docs/how-to/import-history.md."


class DecisionRefusedError(ConfigurationError):
    """A decision to trade is refused; the message holds every reason, and nothing of it was placed."""

    remedy = "Put right what the message names, and decide again."


class RunStoppedError(KrakenReconError):
    """The run was told to stop while it waited; what it had not booked is left undone."""

    retryable = True
    remedy = "Nothing: somebody or a time limit ended the task, and the next run goes on."


class OrderStuckError(KrakenReconError):
    """Some orders of an account could not be worked on, and the others were; the message names each."""

    retryable = True
    remedy = "See what the message says of each order; the next execution tries again."


class OrderFollowedError(KrakenReconError):
    """Something was sent, or is kept to be sent, and what came of it is not known; it is followed.

    Attributes:
        order: the order (an ``Order``) as far as it is known; None where not even that is.
        decision_id: the decision it comes from, if it was recorded just now.
    """

    remedy = "Do not give it again. `trace --order ID` says what came of it."

    def __init__(self, message: str, *, order: object | None = None, decision_id: int | None = None) -> None:
        super().__init__(message)
        self.order = order
        self.decision_id = decision_id


class PlanRefusedError(KrakenReconError):
    """A plan does not fit what is recorded now; the message says what differs. Nothing was written."""

    remedy = "Look at the plan anew (`plan show`); the books have moved since."


class PlanNotWrittenError(KrakenReconError):
    """A plan is approved, but the account could not be judged; the same call again goes on from there."""

    retryable = True
    remedy = "Clear `act_on_answer`, or approve again: it goes on where it was."


class CertificateError(KrakenReconError):
    """What is on record does not prove a position, or a file is no certificate; the message says why."""

    remedy = "See *When it is refused* in docs/how-to/prove-a-position.md."


class ExchangeError(KrakenReconError):
    """Kraken could not be asked, refused, or answered something unusable.

    What Kraken sends has no bound: its text is cut where it becomes part of a message, the codes here. What
    this project says of its own, such as a list of gaps, is kept whole.

    Attributes:
        account: name of the account whose key was used, empty for a public call.
        endpoint: Kraken's endpoint name, such as ``BalanceEx``.
        codes: Kraken's own error strings.
        not_before: when Kraken wants to be asked again, if it said so.
    """

    remedy = "Read what Kraken says in the message."

    def __init__(
        self,
        message: str,
        *,
        account: str = "",
        endpoint: str = "",
        codes: tuple[str, ...] = (),
        not_before: datetime | None = None,
    ) -> None:
        super().__init__(message)
        self.account = account
        self.endpoint = endpoint
        self.codes = tuple(one_line(code) for code in codes[:CODES_KEPT_MAX])
        self.not_before = not_before


class ExchangeUnavailableError(ExchangeError):
    """The network, a gateway or Kraken itself failed; for a write the outcome is unknown."""

    retryable = True
    remedy = (
        "Look at status.kraken.com and at the network. An order of unknown outcome is looked up by itself."
    )


class RateLimitedError(ExchangeError):
    """The key's call budget is used up."""

    retryable = True
    remedy = (
        "Nothing, if it passes. If it stays: another program uses the key, or the connection's "
        "tier is too high."
    )


class NonceRejectedError(ExchangeError):
    """Kraken saw a nonce that was not greater than the last one; nothing happened."""

    retryable = True
    remedy = (
        "Give this project a key of its own: another program uses the same one. Or set a nonce window for "
        "the key at Kraken."
    )


class NotNowError(ExchangeError):
    """Kraken did certainly not execute it, and may later: a market's mode, or a deadline that had passed."""

    retryable = True
    remedy = (
        "Look at status.kraken.com for the market's mode, and at this machine's clock for a passed deadline."
    )


class AuthenticationError(ExchangeError):
    """The key, its signature or its permissions were refused; asking again risks a lockout."""

    remedy = "Copy both keys into the connection again, and check it: `check-key`, or the *Test* button."


class RequestRefusedError(ExchangeError):
    """Kraken understood the request and refused it."""

    remedy = "Read Kraken's reason. If it is about an order, decide anew; otherwise report it."


class PayloadInvalidError(ExchangeError):
    """The reply cannot be trusted: not JSON, cut off, of another shape, or implausible."""

    remedy = "Try again later. If it stays, Kraken has changed an answer: report it with the message."


class StoreError(KrakenReconError):
    """The trading database could not do what was asked."""

    remedy = "Look at the database server: is it up, and is it the right one?"


class RightMissingError(StoreError):
    """The login may not do this in the trading database; nothing was written."""

    remedy = "Make the login a member of the role that it needs: docs/how-to/least-privilege.md."


class LockUnavailableError(StoreError):
    """Another session held a needed row longer than the lock timeout, or a deadlock was broken."""

    retryable = True
    remedy = "Nothing, if it passes. If it stays, `audit` names the session that holds the lock."


class LockTimeoutError(LockUnavailableError):
    """Another session kept a needed row or table for as long as may be waited for it.

    Attributes:
        locked_tables: tables that others have locked as a whole, with who it is; empty where it was a row.
    """

    def __init__(self, message: str, *, locked_tables: str = "") -> None:
        super().__init__(f"{message}: {locked_tables}" if locked_tables else message)
        self.locked_tables = locked_tables


class StoreUnreachableError(StoreError):
    """The database server cannot be reached, or has ended the session."""

    remedy = "Look at the database server: is it up, and does it take connections?"


class ServerTooOldError(StoreError):
    """The server is a PostgreSQL that is not supported; nothing was asked of it."""

    remedy = "Upgrade the server: PostgreSQL 15 is the oldest that is supported."


class AccountsLeftError(StoreError):
    """Accounts of a run were left as they were, and not even that could be recorded; all others are done.

    Attributes:
        accounts: why, by the name of each account that was left.
        run_ids: the runs that are recorded, in the order of their accounts.
    """

    retryable = True
    remedy = "`audit` names the session that holds what the message names. The next run goes on by itself."

    def __init__(
        self, message: str, *, accounts: Mapping[str, str] | None = None, run_ids: Sequence[UUID] = ()
    ) -> None:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted((accounts or {}).items()))
        super().__init__(f"{message}: {reasons}")
        self.accounts = accounts or {}
        self.run_ids = run_ids


class DeskUnreadableError(StoreError):
    """A desk's own database could not be read; only its books are concerned.

    Attributes:
        where: which connection.
        what: what its database, or the driver, says.
        instruction: what to do about it.
    """

    remedy = "Look at the desk's database as the message says; `book check` tries it again."

    def __init__(self, where: str, what: str = "", instruction: str = "") -> None:
        super().__init__(f"{where}: {what}. {instruction}")
        self.where = where
        self.what = what
        self.instruction = instruction


class TextRefusedError(StoreError):
    """A text holds what no database keeps: a zero byte, or half of a surrogate pair. Nothing was written."""

    remedy = "Leave such characters out. If the text is Kraken's, report it with the message."


class SchemaMismatchError(StoreError):
    """The database has another schema than this code: an older one, or one of a newer release."""

    remedy = (
        "Older: run `python -m kraken_recon migrate`. Newer: install the release that migrated it; "
        "docs/how-to/upgrade.md."
    )
