"""The exchange simulator, spoken to over HTTP only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import requests

from local_stack.errors import LocalStackError

if TYPE_CHECKING:
    from pathlib import Path

SIMULATOR = "exchange-simulator"
# The account of the demo that is meant to fail.
STAGED_WRONG_KEY = "zeta-staged-wrong-key"
REQUEST_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Account:
    """An account on the exchange, with the key that opens it.

    Attributes:
        story: one line on what is special about it.
    """

    name: str
    story: str
    key: str
    secret: str
    quote_currency: str
    base_url: str

    @property
    def connection_id(self) -> str:
        """Return the id of the Airflow connection that holds the key."""
        return "kraken_" + re.sub(r"[^a-z0-9]+", "_", self.name.lower())

    @property
    def connection_variable(self) -> str:
        """Return the environment variable that defines the connection."""
        return f"AIRFLOW_CONN_{self.connection_id.upper()}"

    @property
    def connection(self) -> str:
        """Return the connection in Airflow's JSON form."""
        return json.dumps(
            {
                "conn_type": "kraken",
                "login": self.key,
                "password": self.secret,
                "host": self.base_url,
                "extra": {"tier": "unlimited"},
            }
        )


@dataclass(frozen=True, slots=True)
class Recording:
    """A real account's recorded history, living in its own time.

    Attributes:
        exchange_name: its name on the simulator.
        first_entry_time: seconds since 1970.
        last_entry_time: seconds since 1970.
    """

    account: Account
    exchange_name: str
    first_entry_time: Decimal
    last_entry_time: Decimal


class Exchange:
    """The control interface of a running simulator."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between us and ourselves

    def answers(self) -> bool:
        """Tell whether the simulator listens."""
        try:
            return self._session.get(f"{self.base_url}/0/public/Time", timeout=5).ok
        except requests.RequestException:
            return False

    def accounts(self) -> list[Account]:
        """Return the demo's accounts, with the keys that the desk knows."""
        return [
            Account(
                name=found["name"],
                story=found["description"],
                key=found["api_key"],
                secret=found["api_secret"],
                quote_currency=found["quote_currency"],
                base_url=self.base_url,
            )
            for found in self._call("GET", "scenario/accounts")
        ]

    def play_next(self) -> dict[str, int]:
        """Let the demo's accounts live on; return how many ledger entries each of them got."""
        return {str(name): int(entries) for name, entries in self._call("POST", "scenario/next").items()}

    def load_recording(self, directory: Path, name: str, quote_currency: str) -> Recording:
        """Let a real, recorded account exist on the exchange, its clock before its first entry."""
        (loaded,) = self._call("POST", "recordings", {"directory": str(directory), "names": [name]})
        account = Account(
            name=f"recording-{name}",
            story="A real account's recorded ledger, of which half has happened",
            key=loaded["api_key"],
            secret=loaded["api_secret"],
            quote_currency=quote_currency,
            base_url=self.base_url,
        )
        return Recording(
            account, name, Decimal(loaded["first_entry_time"]), Decimal(loaded["last_entry_time"])
        )

    def move_recording(self, recording: Recording, *, share: Decimal) -> None:
        """Let a share of the recorded time have passed: 0 is before the first entry, 1 after the last."""
        moment = recording.first_entry_time + share * (recording.last_entry_time - recording.first_entry_time)
        self._call("POST", "clock", {"account": recording.exchange_name, "now": str(moment + 1)})

    def _call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        try:
            reply = self._session.request(
                method, f"{self.base_url}/_sim/{path}", json=body, timeout=REQUEST_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise LocalStackError(f"The exchange simulator did not answer {path}: {error}") from error
        if not reply.ok:
            raise LocalStackError(
                f"The exchange simulator answered {reply.status_code} to {method} {path}: {reply.text[:500]}"
            )
        return reply.json() if reply.content else {}
