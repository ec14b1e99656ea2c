"""A file of connections is read once, however many are looked up, and again after it was changed."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from kraken_airflow.hooks.connections_file import ARGUMENTS, BACKEND, ConnectionsFile, text_set_here
from kraken_recon.values import connections_file
from kraken_recon.values.connections_file import connection_text

if TYPE_CHECKING:
    from pathlib import Path

OURS = f"{ConnectionsFile.__module__}.{ConnectionsFile.__qualname__}"


def test_it_is_read_once_and_again_when_it_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"desk": {"conn_type": "kraken", "login": "a"}, "uri": "kraken://b"}))
    read = []

    def counted(text: str) -> object:
        read.append(text)
        return json.loads(text)

    monkeypatch.setattr(connections_file, "_read", counted)
    for _ in range(100):
        # Airflow may make a backend for each look-up.
        backend = ConnectionsFile(str(file))
        assert json.loads(backend.get_conn_value("desk") or "") == {"conn_type": "kraken", "login": "a"}
        assert backend.get_conn_value("uri") == "kraken://b"
        assert backend.get_conn_value("nowhere") is None
    assert len(read) == 1
    changed = file.with_name("new")
    changed.write_text(json.dumps({"desk": "kraken://c"}))
    changed.replace(file)
    assert ConnectionsFile(str(file)).get_conn_value("desk") == "kraken://c"
    assert len(read) == 2


@pytest.mark.parametrize("text", ["[]", "just words", "{", "a: [b", ""])
def test_what_is_no_file_of_connections_is_refused_without_its_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "connections.json"
    file.write_text(text)
    if not text:
        assert connection_text(str(file), "desk") is None
        return
    with pytest.raises(ValueError, match=r"it is neither JSON nor YAML|it holds no connections by name"):
        connection_text(str(file), "desk")


def test_yaml_is_read_as_airflow_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "connections.yaml"
    file.write_text("desk:\n  conn_type: kraken\n  login: a\n")
    assert json.loads(connection_text(str(file), "desk") or "") == {"conn_type": "kraken", "login": "a"}


def test_a_connection_is_looked_up_in_the_order_of_airflow(tmp_path: Path) -> None:
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"desk": "kraken://of-the-file"}))
    variables = {"AIRFLOW_CONN_DESK": "kraken://of-the-variable", "AIRFLOW_CONN_OTHER": "kraken://other"}
    assert text_set_here("desk", variables) == "kraken://of-the-variable"
    assert text_set_here("nowhere", variables) is None
    ours = variables | {BACKEND: OURS, ARGUMENTS: json.dumps({"connections_file_path": str(file)})}
    assert text_set_here("desk", ours) == "kraken://of-the-file"
    assert text_set_here("other", ours) == "kraken://other"
    # Another backend may know the connection, and only Airflow can ask it.
    assert text_set_here("other", variables | {BACKEND: "some.Vault"}) is None
    file.unlink()
    assert text_set_here("other", ours) is None
    assert "kraken" not in os.environ.get("AIRFLOW_CONN_DESK", "")
