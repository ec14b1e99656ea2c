"""What the transport signs and sends: the same bytes, and nothing that is a guess."""

from __future__ import annotations

from contextlib import closing
from decimal import Decimal

import pytest

from desks.scripted_server import API_KEY, PRIVATE_KEY, ScriptedServer
from kraken_recon.kraken.credentials import KrakenCredentials
from kraken_recon.kraken.transport import KrakenTransport, encode_parameters


@pytest.fixture
def kraken():
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def sender(kraken):
    credentials = KrakenCredentials(API_KEY, PRIVATE_KEY, kraken.url, "pro")
    with closing(KrakenTransport(credentials, account="alpha", timeout_seconds=(1, 1))) as opened:
        yield opened


def test_every_kind_of_parameter_is_sent_as_it_was_signed(kraken, sender):
    parameters = {
        "validate": True,
        "trades": False,
        "txid": ["O1", "O2"],
        "volume": Decimal("1E-8"),
        "price": Decimal("37500.10"),
        "expiretm": "+30",
        "userref": 7,
        "cl_ord_id": None,
    }
    before = dict(parameters)
    sender.send_private("AddOrder", parameters, nonce=1616492376594)
    (request,) = kraken.requests
    assert request.is_signed()
    assert request.form == {
        "nonce": "1616492376594",
        "validate": "true",
        "trades": "false",
        "txid": "O1,O2",
        "volume": "0.00000001",
        "price": "37500.10",
        "expiretm": "+30",
        "userref": "7",
    }
    assert parameters == before


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (0.1, TypeError),
        (b"x", TypeError),
        ({"a": 1}, TypeError),
        (Decimal("NaN"), ValueError),
        (Decimal("Infinity"), ValueError),
        (["a,b"], ValueError),
        ([1], ValueError),
    ],
)
def test_parameter_whose_text_would_be_a_guess_is_refused(value, refusal):
    with pytest.raises(refusal, match="volume"):
        encode_parameters({"volume": value})


def test_nonce_can_not_be_smuggled_in(kraken, sender):
    with pytest.raises(ValueError, match="nonce"):
        sender.send_private("Balance", {"nonce": 5}, nonce=6)
    assert kraken.requests == []


def test_nonce_is_used_once(sender):
    with pytest.raises(RuntimeError, match="nonce"):
        sender.query_private("Balance")


def test_signature_is_krakens_published_example():
    key = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    published = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    sender = KrakenTransport(
        KrakenCredentials("k", key, "https://api.kraken.com", "pro"), account="alpha", timeout_seconds=(1, 1)
    )
    order = {"ordertype": "limit", "pair": "XBTUSD", "price": 37500, "type": "buy", "volume": Decimal("1.25")}
    data = {"nonce": 1616492376594, **encode_parameters(order)}
    assert sender._sign(data, "/0/private/AddOrder") == published  # noqa: SLF001 - krakenex's, kept as it is
