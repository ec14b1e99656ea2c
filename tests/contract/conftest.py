"""The simulator as a real process, and desks that speak to it with plain krakenex."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import krakenex
import pytest
import requests

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT_SECONDS = 30
#: A moment for virtual clocks: 2026-01-01 00:00:00 UTC.
NEW_YEAR = "1767225600"
ALL_PERMISSIONS = [
    "query-funds",
    "query-open-trades",
    "query-closed-trades",
    "query-ledger",
    "modify-trades",
    "close-trades",
    "create-ws-token",
]


class Refused(Exception):  # noqa: N818 - reads as what Kraken did
    """Kraken answered with errors."""

    def __init__(self, codes):
        super().__init__(", ".join(codes))
        self.codes = codes


class RisingApi(krakenex.API):
    """krakenex with a nonce that always rises; its own one repeats within a millisecond."""

    nonces = itertools.count(time.time_ns())

    def _nonce(self):
        return next(self.nonces)


class SimulatorProcess:
    """One running simulator and its control API."""

    def __init__(self, *arguments):
        environment = dict(os.environ, PYTHONPATH=str(REPOSITORY / "include"))
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "kraken_sim", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), (
            f"expected to hear where it listens, was {line!r}"
        )
        self.url = line.split()[-1]
        self.session = requests.Session()
        self.names = itertools.count(1)

    def control(self, method, path, body=None, *, status=200):
        reply = self.session.request(method, f"{self.url}/_sim{path}", json=body, timeout=30)
        assert reply.status_code == status, f"{method} {path}: {reply.status_code} {reply.text}"
        return json.loads(reply.text, parse_float=Decimal)

    def post(self, path, body=None, **options):
        return self.control("POST", path, body, **options)

    def get(self, path):
        return self.control("GET", path)

    def public(self, endpoint, **parameters):
        reply = self.session.get(f"{self.url}/0/public/{endpoint}", params=parameters, timeout=30)
        return json.loads(reply.text, parse_float=Decimal)

    def open(self, name=None, **options):
        """Open an account with a virtual clock, and every right but withdrawing."""
        name = name or f"desk-{next(self.names)}"
        secret = base64.b64encode(hashlib.sha512(name.encode()).digest()).decode()
        clock = options.pop("now", NEW_YEAR)
        body = {"name": name, "api_key": f"key-{name}", "api_secret": secret, "tier": "unlimited"}
        self.post("/accounts", body | {"permissions": ALL_PERMISSIONS} | options)
        if clock is not None:
            self.post("/clock", {"account": name, "now": clock})
        return Desk(self, name, f"key-{name}", secret)

    def stop(self):
        self.session.close()
        self.process.terminate()
        try:
            return self.process.wait(timeout=10)
        finally:
            self.process.stdout.close()
            if self.process.poll() is None:
                self.process.kill()


class Desk:
    """One account, seen through its key and through the control API."""

    def __init__(self, simulator, name, key, secret):
        self.simulator, self.name, self.key, self.secret = simulator, name, key, secret
        self.api = self.another_api()

    def another_api(self, kind=RisingApi):
        api = kind(self.key, self.secret).json_options(parse_float=Decimal)
        api.uri = self.simulator.url
        return api

    def call(self, endpoint, **parameters):
        """Make a private call; a refusal is raised."""
        reply = self.api.query_private(endpoint, parameters, timeout=10)
        if reply["error"]:
            assert "result" not in reply
            raise Refused(reply["error"])
        return reply.get("result")

    def funding(self, endpoint, *, signed=None, **parameters):
        """Ask the Funding (Beta) API; what it answers, refusals too. ``signed``: another path to sign."""
        path = f"/funding/v1/{endpoint}" + (f"?{urlencode(parameters)}" if parameters else "")
        nonce = str(next(RisingApi.nonces))
        message = (signed or path).encode() + hashlib.sha256(nonce.encode()).digest()
        signature = hmac.new(base64.b64decode(self.secret), message, hashlib.sha512).digest()
        headers = {
            "API-Key": self.key,
            "API-Nonce": nonce,
            "API-Sign": base64.b64encode(signature).decode(),
        }
        reply = self.simulator.session.get(f"{self.simulator.url}{path}", headers=headers, timeout=10)
        return json.loads(reply.text, parse_float=Decimal)

    def refusal(self, endpoint, **parameters):
        """Make a call that must be refused; tell the codes."""
        with pytest.raises(Refused) as refused:
            self.call(endpoint, **parameters)
        return refused.value.codes

    def event(self, kind, **fields):
        return self.simulator.post(f"/accounts/{self.name}/events", {"kind": kind, **fields})

    def change(self, **fields):
        return self.simulator.control("PATCH", f"/accounts/{self.name}", fields)

    def advance(self, seconds):
        return self.simulator.post("/clock", {"account": self.name, "advance_seconds": seconds})

    def statement(self):
        return self.simulator.get(f"/accounts/{self.name}/statement")

    def fault(self, name, **options):
        return self.simulator.post("/faults", {"name": name, "account": self.name, **options})


@contextmanager
def running(*arguments):
    """Run a simulator for a while."""
    simulator = SimulatorProcess(*arguments)
    try:
        yield simulator
    finally:
        simulator.stop()


@pytest.fixture(scope="session")
def start_simulator():
    return running


@pytest.fixture(scope="session")
def exchange():
    """A simulator with its own market, shared by every test: each opens accounts of its own."""
    with running() as simulator:
        yield simulator


@pytest.fixture
def desk(exchange):
    """A funded account whose clock stands at New Year 2026."""
    yield exchange.open(
        opening={"ZUSD": "100000", "ZEUR": "50000", "XXBT": "2", "XETH": "50", "XXDG": "90000"}
    )
    exchange.control("DELETE", "/faults")


@pytest.fixture(scope="session")
def cassette(kraken_data_dir):
    """Read one reply of the account recorded in 2015."""

    def read(name):
        path = kraken_data_dir / "shideneyu__kraken_client" / "cassettes" / f"{name}.json"
        return json.loads(path.read_text(), parse_float=Decimal)[0]["response"]["json"]

    return read


@pytest.fixture(scope="session")
def market_of_2015(cassette, tmp_path_factory):
    """A simulator with the assets and pairs of August 2015."""
    directory = tmp_path_factory.mktemp("market-of-2015")
    for recorded, name in (("assets", "Assets.json"), ("assets_pairs", "AssetPairs.json")):
        (directory / name).write_text(json.dumps(cassette(recorded), default=float))
    with running("--reference-dir", str(directory)) as simulator:
        yield simulator
