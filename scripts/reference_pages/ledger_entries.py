"""The page about every kind of ledger entry, from the table that the books go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kraken_recon.ledger.entry_kinds import KINDS
from reference_pages.markdown import code, page, table, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kraken_recon.ledger.entry_kinds import EntryKind

RULES: Final = """
**To a position every entry does the same**: it moves one asset in one wallet by `amount - fee`, once,
whatever it is called. No kind is ever left out, and none has a rule of its own. **To the cost** only the
shape matters: what left and what came under one `refid`. A `refid` that stands for none (`Unknown` in the
earn migration of 2023 and 2024, `None`, empty) joins nothing: such rows belong together only if they are of
one second and one asset and their amounts cancel.

A kind that is not on this page is stored and applied like any other, and people are told: the run's note
names it, and an alert `unknown_entry_kind` is raised for the asset ([what to
do](../runbooks/position_sync.md)). The same goes for a wallet suffix that is not known: its amount is kept
as an asset of its own, such as `DOT.Q`. Any type may come without a subtype; one that is followed by `*` is
only in Kraken's own list, and may come with any.
"""
# What is to be said below the table of each heading.
REMARKS: Final[Mapping[str, str]] = {
    "Exchanges": """
A fill whose other leg Kraken rounded to nothing has one row and no price: what came in is of unknown cost,
and what went out leaves at cost, without a result.
""",
    "In and out": """
**Own money** that goes to a vault, the futures account or custody is in no balance and no position there.
It takes its cost along and brings it back; what comes back beyond it is of unknown cost. `holdings` and
`cost` show what went there and is not back.

A withdrawal is out of Kraken's balance from the request on, perhaps before its ledger shows it. Until then
it is a residual. Once that is old enough to be judged, Kraken is asked what is under way (its Funding API;
the key's *Query funds* suffices): deposits and withdrawals that are pending or on hold and come to exactly
the residual explain it, and nothing is repaired, held or alerted. Where Kraken does not say, the residual is
judged like any other. If the withdrawal fails before the ledger showed it, there never is a row, and the
residual goes away by itself.
""",
    "Between wallets": """
Wallets are the suffixes of Kraken's asset codes: `.S` staked, `.M` opt-in rewards, `.B` bonded, `.F`
auto-earn, `.P` parachain, `.T` tokenized, `.HOLD` money on hold, and terms such as `28.S`.
""",
    "Margin": """
A position may also be `settled`, and a `collateralconversion` pay for it: see *Exchanges*. The positions
themselves are in a table of their own: [margin positions](../how-to/follow-margin-positions.md).
""",
    "Renames and delistings": """
Rows with different `refid`s are taken for one conversion if they are of one kind, out and in, of different
assets, and have the same quantity, or are of an asset and its known successor (`MATIC` and `POL`), at most
30 days apart; or are a minute apart and **neither has another candidate**
([why](../adr/0013-margin-positions-are-explained-by-the-ledger.md)). The others are told: an alert
[`conversion_unpaired`](../runbooks/alerts.md#conversion_unpaired), and `cost`.

Nothing here asks Kraken which assets exist: an old row may name one that is not listed any more. Where
Kraken gives an asset a new code *without* any row, the old one vanishes from the balance and just as much
of the new one appears. That fails no account: both differences wait for confirmation, and as the new code
mostly has no price yet, for a person.
""",
}

# What no kind of Kraken's is about.
BESIDES: Final[Mapping[str, str]] = {
    "Tokenized assets": """
Tokenized stocks (`NVDAx`) are a class of their own: Kraken keeps a second ledger of them, with a count of its
own, and lists them in balances as `NVDAx.T`, which is how they are called here. Both ledgers are read and
proved in every reading of an account that holds tokenized assets, or held some. The payment is in the first
ledger, under the same `refid`: where that shows one leg of a `spend` and `receive` alone, the second one is
read, too.

A split or a reinvested dividend changes what Kraken's own pages show, without any row. Amounts here are in
*base units*, which only rows change. `holdings` asks Kraken for the factor and shows both figures where they
differ.
""",
    "Entries of ours": """
A person may [accept](../runbooks/position_sync.md#contradictions) what Kraken took back or never shows. An
entry that Kraken took back stays on record as `withdrawn`, and moves nothing. What Kraken's ledger does not
show is a `gap`, or a `gap/end` after the last entry: what comes in by one is of unknown cost, what goes out
leaves at cost. Once Kraken fills a gap by itself, ours becomes `withdrawn`.
""",
}


def ledger_entries() -> str:
    """Write the page."""
    return page(
        "Every kind of ledger entry",
        "What Kraken writes, what it means, and what it does to a position and to its "
        "[average cost](../average-cost.md).",
        *map(wrapped, RULES.strip().split("\n\n")),
        *(part for heading, kinds in KINDS.items() for part in _section(heading, kinds)),
        *(
            part
            for heading, text in BESIDES.items()
            for part in (f"## {heading}", *map(wrapped, text.strip().split("\n\n")))
        ),
    )


def _section(heading: str, kinds: tuple[EntryKind, ...]) -> tuple[str, ...]:
    rows = (
        (", ".join(map(code, kind.names.split(", "))), kind.shape, kind.meaning, kind.cost) for kind in kinds
    )
    return (
        f"## {heading}",
        table(("type/subtype", "rows", "what it means", "cost"), rows),
        *map(wrapped, REMARKS[heading].split("\n\n")),
    )
