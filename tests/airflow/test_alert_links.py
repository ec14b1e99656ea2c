"""Where the messages about each kind of alert lead: pages that are there, with names alone in the address."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from kraken_airflow.alerting.links import PLACES, links_of
from kraken_recon.alerts.kinds import AlertKind
from kraken_recon.alerts.rules import Standing
from kraken_recon.settings import RUNBOOK_URL

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

    from desks.airflow import AirflowDesk

BASE = "AIRFLOW__API__BASE_URL"


def standing(kind: str, **changes: object) -> Standing:
    about = {"account": "desk 1", "asset": "BTC", "wallet": "spot", "message": "secret 0.5 BTC"} | changes
    given = {"status": "open", "amount": None, "occurrences": 1, "resolved_at": None, "resolved_by": None}
    return Standing(alert_id=1, kind=kind, told=None, **(given | about))  # type: ignore[arg-type]


def test_every_kind_has_its_places() -> None:
    assert set(PLACES) == set(AlertKind)


@pytest.mark.parametrize("kind", AlertKind)
def test_every_link_of_every_kind_leads_to_a_page(
    desk: AirflowDesk,
    monkeypatch: pytest.MonkeyPatch,
    api_app: FastAPI,
    token_of: Callable[[str | None], str],
    kind: AlertKind,
) -> None:
    monkeypatch.setenv(BASE, "https://somebody:password@airflow.example/desk/")
    desk.account("desk 1", USD="1")
    desk.execute("insert into trading.alerts (kind, message) values (%s, 'something')", kind)
    desk.execute(
        "insert into trading.positions (account_id, asset, quantity)"
        " select account_id, 'BTC', 1 from trading.accounts"
    )
    number = desk.rows("select alert_id from trading.alerts")[0]["alert_id"]
    run = "00000000-0000-0000-0000-000000000007"
    told = {"evidence": {"run_id": run}} if kind != "work_overdue" else {}
    # It is about several assets at once.
    told |= {"asset": None} if kind == "conversion_unpaired" else {}
    links = links_of(standing(kind, **told))
    assert set(links) == {"page", "evidence", "acknowledge", "runbook"}
    assert links["acknowledge"] == f"https://airflow.example/desk/kraken-recon/wants?alert={number}#alerts"
    assert links["runbook"].endswith(f"page=runbooks/alerts.md#{kind}")
    client = TestClient(api_app, headers={"Authorization": f"Bearer {token_of('admin')}"})
    for address in links.values():
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc) == ("https", "airflow.example")
        assert "secret" not in address
        path = parts.path.removeprefix("/desk")
        if path.startswith("/kraken-recon/"):
            reply = client.get(f"{path}?{parts.query}")
            assert reply.status_code == 200, (address, reply.text)
            assert not parts.fragment or f'id="{parts.fragment}"' in reply.text


def test_an_order_and_a_run_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, "http://localhost:8080")
    order = links_of(standing("order_not_placed", evidence={"order_id": "7"}))
    assert order["evidence"] == "http://localhost:8080/kraken-recon/order?id=7"
    run = {"asset": "position_sync", "account": None, "evidence": {"dag_run_id": "manual__1 +/?"}}
    evidence = links_of(standing("deadline_missed", **run))["evidence"]
    assert evidence == "http://localhost:8080/dags/position_sync/runs/manual__1%20%2B%2F%3F"


def test_a_name_stays_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, "http://localhost:8080")
    page = links_of(standing("sync_failure", account="a&b=c|<x>"))["page"]
    assert page == "http://localhost:8080/kraken-recon/account?name=a%26b%3Dc%7C%3Cx%3E"


def test_what_is_over_is_not_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, "http://localhost:8080")
    assert "acknowledge" not in links_of(standing("sync_failure", status="resolved"))


@pytest.mark.parametrize("address", ["", "/airflow", "javascript:alert(1)", "ftp://desk.example", "http://"])
def test_without_an_address_of_its_own_there_is_no_half_link(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(BASE, address)
    assert links_of(standing("sync_failure")) == {}
    assert links_of(None) == {}
    monkeypatch.setenv(RUNBOOK_URL.name, "https://runbooks.example/{name}")
    assert links_of(standing("held_repair")) == {"runbook": "https://runbooks.example/alerts#held_repair"}


def test_a_kind_of_tomorrow_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, "http://localhost:8080")
    assert links_of(standing("a kind of tomorrow"))["page"].endswith("/kraken-recon/account?name=desk+1")


def test_what_is_told_of_a_desk_book_leads_to_what_differs_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE, "http://localhost:8080")
    told = {"wallet": "arena", "evidence": {"run_id": "7", "book": "arena"}}
    evidence = links_of(standing("desk_difference", **told))["evidence"]
    assert evidence.endswith("/kraken-recon/differences?account=desk+1&run=7&book=arena")
    links = links_of(standing("desk_book_unreadable", account=None, evidence={"book": "arena"}))
    assert (links["page"].endswith("/wants"), links["evidence"].endswith("?book=arena")) == (True, True)
