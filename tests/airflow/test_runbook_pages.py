"""The runbooks as pages: every link leads on, and nothing but the documentation can be named."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from kraken_airflow.dashboard.pages.runbooks import FOLDER, document_path
from kraken_recon.alerts.kinds import AlertKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI

ROOT = "/kraken-recon/"
RUNBOOKS = sorted(path.relative_to(FOLDER).as_posix() for path in (FOLDER / "runbooks").glob("*.md"))


@pytest.fixture
def viewer(api_app: FastAPI, token_of: Callable[[str | None], str]) -> TestClient:
    return TestClient(api_app, headers={"Authorization": f"Bearer {token_of('VIEWER')}"})


def test_nobody_reads_without_a_login(api_app: FastAPI, token_of: Callable[[str | None], str]) -> None:
    path = ROOT + document_path("runbooks/alerts.md")
    assert TestClient(api_app).get(path).status_code == 401
    headers = {"Authorization": f"Bearer {token_of(None)}"}
    assert TestClient(api_app).get(path, headers=headers).status_code == 403


@pytest.mark.parametrize("page", RUNBOOKS)
def test_every_link_of_a_runbook_leads_to_a_page_and_a_heading(viewer: TestClient, page: str) -> None:
    shown = viewer.get(ROOT + document_path(page))
    assert shown.status_code == 200
    for href in map(unescape, re.findall(r'<a href="(docs\?[^"]*)"', shown.text)):
        path, _, anchor = href.partition("#")
        target = viewer.get(ROOT + path)
        assert target.status_code == 200, href
        assert not anchor or f'id="{anchor}"' in target.text, href
    assert not re.findall(r'href="[^"]*\.\./', shown.text)


def test_a_kind_of_alert_has_an_anchor(viewer: TestClient) -> None:
    text = viewer.get(ROOT + document_path("runbooks/alerts.md")).text
    assert not [kind for kind in AlertKind if f'id="{kind}"' not in text]
    assert document_path("runbooks/alerts.md", "held_repair") == "docs?page=runbooks/alerts.md#held_repair"


@pytest.mark.parametrize(
    "page",
    [
        "../pyproject.toml",
        "runbooks/../../README.md",
        "/etc/passwd",
        "runbooks/",
        "runbooks/none.md",
        str(Path(__file__)),
        "%2e%2e/README.md",
    ],
)
def test_nothing_else_can_be_named(viewer: TestClient, page: str) -> None:
    reply = viewer.get(f"{ROOT}docs", params={"page": page})
    assert reply.status_code == 404
    assert "no such page of the documentation is installed here" in reply.text
