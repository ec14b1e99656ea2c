"""The commands about seals: the chain of hashes over repairs, decisions and approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.cli.arguments import typed
from kraken_recon.cli.command import Arguments, Result, argument, command, group
from kraken_recon.cli.trading_db import wired
from kraken_recon.seals.rules import Head
from kraken_recon.seals.sealing import accept_changes, head_of, seal_due, verify_seals

if TYPE_CHECKING:
    from collections.abc import Mapping


@command(
    "verify",
    argument("--head", type=typed(Head.read), metavar="N:HASH", help="a head that was kept elsewhere"),
)
def verify(arguments: Arguments) -> Result:
    """Check that nothing sealed was changed, deleted, added or moved since; name the first that was."""
    view = verify_seals(wired().units_of_work(), arguments.head)
    return view, render_verdict(view)


@command("head")
def head(_: Arguments) -> Result:
    """Print the end of the chain, to be kept where nobody who can change the database can change it."""
    found = head_of(wired().units_of_work())
    return {"seal": found.seal_id, "digest": found.digest.hex(), "head": str(found)}, [str(found)]


@command("now")
def seal_now(_: Arguments) -> Result:
    """Seal at once what was written; maintenance does it every hour."""
    open_unit_of_work = wired().units_of_work()
    sealed = seal_due(open_unit_of_work)
    found = str(head_of(open_unit_of_work))
    return {"sealed": sealed, "head": found}, [f"rows sealed: {sealed}", f"seals end at {found}"]


@command(
    "accept",
    argument("--by", required=True, metavar="NAME", help="who vouches for it"),
    argument("--note", required=True, help="why it was changed"),
)
def accept(arguments: Arguments) -> Result:
    """Vouch for all rows that verify names, as they are; the chain keeps who did and why."""
    view = accept_changes(wired().units_of_work(), arguments.by, arguments.note)
    lines = [f"{subject}: {', '.join(keys)}" for subject, keys in view["accepted"].items()]
    return view, [*(lines or ["there is nothing to accept"]), f"seals end at {view['head']}"]


def render_verdict(view: Mapping[str, Any]) -> list[str]:
    """Write what was verified, or what does not hold, as lines for people."""
    lines = [
        f"{view['seals']} seals over {sum(view['rows'].values())} rows; {view['due']} rows wait to be sealed",
        *(f"  {subject}: {count}" for subject, count in view["rows"].items()),
        *(
            f"sealed again in seal {one['seal']}: {one['rows']} rows of {one['subject']}: {one['note']}"
            for one in view["sealed_again"]
        ),
        f"seals end at {view['head']}",
    ]
    if view["verified"]:
        return ["verified", *lines]
    return [
        f"NOT verified: {view['failed_count']} thing(s) do not hold",
        *map(_finding, view["failed"]),
        *lines,
    ]


def _finding(one: Mapping[str, Any]) -> str:
    where = [f"seal {one['seal']}"] if one["seal"] is not None else []
    where += [f"{one['subject']} {one['row'] or ''}".strip()] if one["subject"] else []
    return f"  {', '.join(where)}: {one['what']}"


SEAL_COMMANDS = group(
    "seals", "The chain of hashes over repairs, decisions and approvals.", verify, head, seal_now, accept
)
