"""What is plain is read quickly: with the very result of reading it with care, or the very refusal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kraken_recon.errors import PayloadInvalidError
from kraken_recon.kraken.parse_account import decode_reply
from kraken_recon.kraken.parse_ledger import parse_ledger_entries

# A reply without a subtype is read row by row, one with a colon in a text decoded with care.
WITH_CARE = {
    "refid": "T",
    "time": 1,
    "type": "trade",
    "asset": "ZUSD",
    "amount": "1",
    "fee": "0",
    "balance": "1",
}
AMOUNTS = ("0", "-0.00", "1.5", "-12.3400000000", "9" * 20, "0." + "1" * 18)
STRANGE_AMOUNTS = (
    "",
    " 1",
    "1\n2",
    "1\n",
    "+1",
    "1e2",
    "1_0",
    "\u0661",
    ".5",
    "5.",
    "9" * 21,
    "0." + "1" * 19,
    "NaN",
    1,
)
STRANGE_TEXTS = (
    "two\nlines",
    "\n",
    "x" * 500,
    "x" * 501,
    "caf\u00e9",
    "\u202e",
    "\x00",
    "\ud800",
    7,
    None,
    [],
    {},
)
TIMES = (Decimal("1700000000.1234"), Decimal("1700000000.12340"), Decimal("0.0000001"))
STRANGE_TIMES = (0, 1, True, -1, "1700000000.5", "x", Decimal("1e11"), Decimal("NaN"), Decimal("-0.1"), None)


def fields_of(amounts: Any, texts: Any, names: Any, times: Any) -> Any:
    return {
        **dict.fromkeys(("amount", "fee", "balance"), st.sampled_from(amounts)),
        **dict.fromkeys(("refid", "subtype", "aclass"), st.sampled_from(texts)),
        **dict.fromkeys(("type", "asset"), st.sampled_from(names)),
        "time": st.sampled_from(times),
    }


PLAIN = fields_of(AMOUNTS, ("", "T1", "~ !"), ("trade", "XXBT", "DOT28.S"), TIMES)
STRANGE = fields_of(STRANGE_AMOUNTS, STRANGE_TEXTS, ("", *STRANGE_TEXTS), STRANGE_TIMES)


@st.composite
def pages(draw: st.DrawFn) -> dict[Any, Any]:
    ids = draw(st.lists(st.sampled_from(("L1", "L2", "L3", "L4")), min_size=1, unique=True))
    page: dict[Any, Any] = {name: draw(st.fixed_dictionaries(PLAIN)) for name in ids}
    if field := draw(st.sampled_from((None, "id", "row", "unknown", "missing", *sorted(STRANGE)))):
        row = page[ids[-1]]
        if field == "id":
            page[draw(st.sampled_from(("", "a\nb", 5, "\x00")))] = page.pop(ids[-1])
        elif field == "row":
            page[ids[-1]] = draw(st.sampled_from((None, [], "text", [("refid", "T")])))
        elif field == "unknown":
            row["unknown"] = "field"
        elif field == "missing":
            row.pop(draw(st.sampled_from(sorted(PLAIN))))
        else:
            row[field] = draw(STRANGE[field])
    return page


def told(read: Any) -> Any:
    try:
        return read()
    except (PayloadInvalidError, ArithmeticError) as error:
        return type(error), str(error)


@given(pages())
def test_a_page_of_plain_rows_reads_as_its_rows_do(page: dict[Any, Any]) -> None:
    together = told(lambda: parse_ledger_entries(page))
    one_by_one = told(lambda: parse_ledger_entries({**page, "LAST": WITH_CARE})[:-1])
    assert together == one_by_one
    assert repr(together) == repr(one_by_one)  # 1.0 equals 1.00, and is not the same


NAMES = st.sampled_from(("a", "b", "", ":", "a b"))
PARTS = st.sampled_from(
    (
        *(
            '"x"',
            '""',
            '":"',
            '","',
            '"\u00e9"',
            '"\x01"',
            r'"\":"',
            r'"\u0041"',
            r'"\ud800"',
            "1",
            "-0",
            "0.10",
        ),
        *("1e5", "12345678901234567890123", "NaN", "Infinity", "null", "true", "[]", "{}", "01", "1."),
    )
)


def written_object(members: list[tuple[str, str]], gap: str) -> str:
    return "{" + ",".join(f'"{name}"{gap}:{gap}{part}' for name, part in members) + "}"


BODIES = st.recursive(
    PARTS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[" + ",".join(parts) + "]")
        | st.builds(
            written_object, st.lists(st.tuples(NAMES, inner), max_size=3), st.sampled_from(("", " ", "\n"))
        )
    ),
    max_leaves=8,
)


@given(BODIES)
def test_a_reply_without_colons_in_texts_decodes_as_one_with_them_does(result: str) -> None:
    body = f'{{"error":[],"result":{result}}}'.encode()
    quickly = told(lambda: decode_reply(body, account="a", endpoint="Ledgers"))
    with_care = told(lambda: decode_reply(body[:-1] + b',"A":":"}', account="a", endpoint="Ledgers"))
    if isinstance(quickly, tuple):
        # The refusal says how long the reply was.
        assert [word for word in quickly[1].split() if not word.strip("'").isdigit()] == [
            word for word in with_care[1].split() if not word.strip("'").isdigit()
        ]
    else:
        assert repr(quickly) == repr(with_care)
