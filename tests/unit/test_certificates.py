"""A certificate proves itself, and says exactly what does not hold when anything in it was changed."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desks.certificate_evidence import BTC, DOCUMENT, EARN, USD, books, evidence
from desks.fakes import START
from kraken_recon.certificates.certifying import render_summary, verify
from kraken_recon.certificates.rules.build_and_check import (
    IncompleteChainError,
    build_certificate,
    check_certificate,
    document_digest,
)
from kraken_recon.certificates.rules.format import canonical, read_document, read_time, write_time
from kraken_recon.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_certificate(evidence())


def said(document: dict[str, Any]) -> list[str]:
    """Name what does not hold, as the command does: from the bytes of a file."""
    view = verify(json.dumps(document).encode())
    return [] if view["verified"] else [f"{f['where']}: {f['what']}" for f in view["failed"]]


def resealed(document: dict[str, Any]) -> dict[str, Any]:
    """Give a changed document the digest that fits it, as a careful forger would."""
    return {**document, "digest": document_digest(document)}


def test_certificate_verifies_itself_and_states_the_positions(document: dict[str, Any]) -> None:
    assert said(document) == []
    stated = {(h["asset"], h["wallet"]): h for h in document["holdings"]}
    assert list(stated) == [EARN, BTC, USD]
    assert [h["closing"] for h in stated.values()] == ["0.01", "0.04", "6992.2"]
    assert stated[BTC]["outstanding_adjustments"] == stated[BTC]["residual"] == "0.002"
    assert stated[USD]["unwritten_residual"] == stated[USD]["residual"] == "0.0001"
    assert stated[USD]["head"]["balance"] == "6992.2"
    assert stated[EARN]["residual"] == "0"


def test_same_facts_in_any_order_are_the_same_bytes(document: dict[str, Any]) -> None:
    shuffled = evidence()
    shuffled = replace(
        shuffled,
        holdings=[replace(h, entries=h.entries[::-1]) for h in reversed(shuffled.holdings)],
    )
    assert canonical(build_certificate(shuffled)) == canonical(document)


def test_digests_are_what_the_reference_page_says(document: dict[str, Any]) -> None:
    """Recomputed here from the page's words, so that anybody may check a certificate with another program."""
    import hashlib  # noqa: PLC0415 - only this test speaks of bytes

    def field(kind: str, text: str) -> bytes:
        raw = text.encode()
        return kind.encode() + len(raw).to_bytes(8, "big") + raw

    holding = document["holdings"][1]
    names = ("kraken-recon chain 1", document["account"], holding["asset"], holding["wallet"])
    packed = b"".join(field("s", name) for name in names) + field("d", holding["opening"])
    link = "sha256:" + hashlib.sha256(packed).hexdigest()
    for entry in holding["entries"]:
        packed = field("h", link)
        for kind, name in zip("sstssddd", ("ledger_id", "refid", "time", "type", "subtype", "amount", "fee",
                                           "balance"), strict=True):  # fmt: skip
            packed += field(kind, entry[name])
        link = "sha256:" + hashlib.sha256(packed).hexdigest()
        assert entry["link"] == link
    assert holding["digest"] == link
    content = {name: value for name, value in document.items() if name != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert document["digest"] == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# --- nothing can be changed without being named -----------------------------------------------------------


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) or (isinstance(value, list) and value):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in inner:
            yield from leaves(item, (*path, name))
    else:
        yield path


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        document = document[name]
    return document


def put(document: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    at(changed, path[:-1])[path[-1]] = value
    return changed


LEAVES = tuple(leaves(DOCUMENT))


def refused(document: dict[str, Any]) -> bool:
    try:
        return bool(said(document))
    except CertificateError:
        return True


@pytest.mark.parametrize("path", LEAVES, ids=lambda path: ".".join(map(str, path)))
def test_every_value_is_protected(path: tuple[Any, ...]) -> None:
    value = at(DOCUMENT, path)
    others: list[Any] = [None, "", "0", "1", "x", 0, 1.5, True, False, [], {}, "2026-01-05T12:00:00.000000Z"]
    if isinstance(value, str):
        others += [value + " ", value[:-1], value + "0", value.swapcase(), f"-{value}"]
    for other in others:
        if type(other) is not type(value) or other != value:
            assert refused(put(DOCUMENT, path, other)), f"{path} = {other!r}"


@given(st.sampled_from(LEAVES), st.data())
def test_any_single_byte_of_any_value_is_protected(path: tuple[Any, ...], data: st.DataObject) -> None:
    value = at(DOCUMENT, path)
    text = value if isinstance(value, str) else json.dumps(value)
    place = data.draw(st.integers(0, max(0, len(text) - 1)))
    letter = data.draw(st.characters().filter(lambda c: c != text[place : place + 1]))
    assert refused(put(DOCUMENT, path, text[:place] + letter + text[place + 1 :]))


@given(st.data())
def test_any_single_byte_of_the_file_changes_nothing_or_is_refused(data: st.DataObject) -> None:
    file = bytearray(json.dumps(DOCUMENT, indent=2).encode())
    place = data.draw(st.integers(0, len(file) - 1))
    file[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != file[place]))
    try:
        view = verify(bytes(file))
    except CertificateError:
        return
    # What still verifies says the very same: only white space between values was changed.
    assert not view["verified"] or json.loads(bytes(file)) == DOCUMENT


@pytest.mark.parametrize("path", LEAVES[:12], ids=lambda path: ".".join(map(str, path)))
def test_missing_or_unknown_field_is_named(path: tuple[Any, ...]) -> None:
    without = copy.deepcopy(DOCUMENT)
    del at(without, path[:-1])[path[-1]]
    assert refused(without)
    assert refused(put(DOCUMENT, (*path[:-1], "remark"), "x"))


# --- what a careful forger cannot do ---------------------------------------------------------------------


def test_changed_amount_is_named_by_holding_and_entry_even_when_sealed_again(
    document: dict[str, Any],
) -> None:
    forged = resealed(put(document, ("holdings", 2, "entries", 1, "amount"), "-2999"))
    name = document["holdings"][2]["entries"][1]["ledger_id"]
    assert [line.split(": ")[0] for line in said(forged)] == [
        f"holding USD, entry {name}",
        f"holding USD, entry {name}",
        "holding USD",
        "holding USD",
    ]
    assert (
        f"holding USD, entry {name}: balance is 6992.2, but the document's own figures make it 6993.2"
        in said(forged)
    )


@pytest.mark.parametrize("entry", [0, 1])
def test_entry_that_was_taken_out_is_noticed_even_when_sealed_again(
    document: dict[str, Any], entry: int
) -> None:
    forged = copy.deepcopy(document)
    del forged["holdings"][2]["entries"][entry]
    assert any(line.startswith("holding USD") for line in said(resealed(forged)))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("holdings", 0, "closing"), "1", "closing is 1"),
        (("holdings", 1, "residual"), "0", "residual is 0"),
        (("holdings", 1, "recorded"), "0.04", "recorded is 0.04"),
        (("holdings", 1, "explained_later"), "0.002", "explained_later"),
        (("holdings", 2, "unwritten_residual"), "0", "unwritten_residual is 0"),
        (("holdings", 2, "head", "balance"), "1", "head"),
        (("holdings", 2, "head"), None, "head"),
        (("holdings", 2, "opening"), "1", "balance is"),
        (("runs", 0, "status"), "failed", "proves nothing"),
        (("runs", 0, "mode"), "dry_run", "proves nothing"),
        (("runs", 0, "reported_as_of"), "2027-01-05T12:00:00.000000Z", "after the moment"),
        (("runs", 0, "findings", 0, "explained"), "1", "add up to"),
        (("runs", 1, "reported_head"), "LGONE", "is not among the entries"),
        (("runs",), [], "no run proves this"),
        (("at",), "2026-01-05T12:00:00.500000Z", "later than the moment"),
        (("at",), "2027-01-05T12:00:00.500000Z", "later than the certificate itself"),
    ],
)  # fmt: skip
def test_figures_must_agree_even_when_sealed_again(
    document: dict[str, Any], path: tuple[Any, ...], value: Any, words: str
) -> None:
    forged = resealed(put(document, path, value))
    assert any(words in line for line in said(forged)), said(forged)


def test_entry_or_holding_that_is_listed_twice_is_named(document: dict[str, Any]) -> None:
    twice = copy.deepcopy(document)
    twice["holdings"].append(twice["holdings"][0])
    lines = said(resealed(twice))
    assert "holding BTC.F: it is listed twice" in lines
    assert any(line.endswith("it is listed twice") and line.startswith("entry ") for line in lines)


def test_residual_of_a_holding_that_is_left_out_is_named(document: dict[str, Any]) -> None:
    forged = copy.deepcopy(document)
    del forged["holdings"][2]
    assert any("the run found 0.0001 there" in line for line in said(resealed(forged)))


# --- late entries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("late", "later", "residual"), [("0.002", "0.002", "0"), ("0.5", "0.002", "0"), ("-0.1", "0", "0.002")]
)
def test_entry_that_turned_up_later_explains_a_residual_once(late: str, later: str, residual: str) -> None:
    whole = evidence()
    made = books()
    entry = made.add("BTC", late)
    bitcoin = whole.holdings[1]
    bitcoin = replace(
        bitcoin,
        entries=[*bitcoin.entries, entry],
        recorded=bitcoin.recorded + entry.change,
        late_ids=frozenset({entry.ledger_id}),
    )
    document = build_certificate(replace(whole, holdings=[whole.holdings[0], bitcoin, whole.holdings[2]]))
    assert said(document) == []
    stated = document["holdings"][1]
    assert (stated["explained_later"], stated["residual"]) == (later, residual)


def test_imported_history_explains_no_residual() -> None:
    whole = evidence()
    made = books()
    entry = made.entries[2]
    bitcoin = replace(
        whole.holdings[1], late_ids=frozenset({entry.ledger_id}), opening_moved_later=-entry.change
    )
    document = build_certificate(replace(whole, holdings=[whole.holdings[0], bitcoin, whole.holdings[2]]))
    assert said(document) == []
    stated = document["holdings"][1]
    assert (stated["explained_later"], stated["residual"]) == ("0", "0.002")
    assert any(
        "explained_later" in line
        for line in said(resealed(put(document, ("holdings", 1, "opening_moved_later"), "0")))
    )


# --- what cannot be certified, and files that are no certificate ------------------------------------------


def test_books_with_a_gap_are_not_certified() -> None:
    whole = evidence()
    dollars = whole.holdings[0]
    with pytest.raises(IncompleteChainError, match="USD: 10000 is not accounted for"):
        build_certificate(
            replace(whole, holdings=[replace(dollars, entries=dollars.entries[1:]), *whole.holdings[1:]])
        )


@pytest.mark.parametrize(
    ("file", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "expected a JSON object"),
        (b"{}", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b'{"a": 1}', "bare number"),
        (b'{"a": NaN}', "bare number"),
        (b'{"a": "1", "a": "2"}', "given twice"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"certificate": "kraken-recon position certificate"}', "expected format 1, was None"),
        (b'{"certificate": "kraken-recon position certificate", "format": "2"}', "was '2'"),
    ],
)  # fmt: skip
def test_file_that_is_no_certificate_is_refused_with_the_reason(file: bytes, words: str) -> None:
    with pytest.raises(CertificateError, match="this is no certificate") as refusal:
        verify(file)
    assert words in str(refusal.value)


def test_certificate_that_lacks_everything_names_what_is_missing() -> None:
    lines = said({"certificate": DOCUMENT["certificate"], "format": "1"})
    assert ": the field holdings is missing" in lines
    assert ": the field digest is missing" in lines


def test_problems_are_shown_to_people_by_place(document: dict[str, Any]) -> None:
    shown = render_summary(verify(json.dumps(put(document, ("holdings", 1, "closing"), "x")).encode()))
    assert shown == [
        "NOT verified: 1 thing(s) do not hold",
        "  holding BTC, closing: expected an amount as text without needless zeros, was 'x'",
    ]
    good = render_summary(verify(json.dumps(document).encode()))
    assert good[0] == "verified"
    assert good[-1] == f"digest {document['digest']}"


def test_times_have_one_spelling() -> None:
    assert write_time(START) == "2026-01-05T12:00:00.000000Z"
    assert read_time(write_time(START + timedelta(microseconds=1))) == START + timedelta(microseconds=1)


def test_document_is_read_back_as_it_was_written(document: dict[str, Any]) -> None:
    assert check_certificate(read_document(json.dumps(document).encode())) == ()
