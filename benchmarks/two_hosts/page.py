"""The page docs/reference/two-hosts.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.figures import ROOT, taken

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE: Final = ROOT / "docs/reference/two-hosts.md"
PAGE_TEXT: Final = """\
<!-- Written by `make two-hosts`. -->
# Two hosts

The tasks that call Kraken run on two workers, each on a host of its own (a network name space with one
cable to the host of everything else). Both take from the queue `exchange`; nothing of an account belongs to
a host. In the middle of a run a host's cable is pulled: what is sent gets lost, and nobody is told.

{verdict}

{together}

| what happens | proven again | lost or doubled | tasks done meanwhile | a person sees |
|---|--:|---|---|---|
{rows}

- All of [docker-compose.yaml](../how-to/run-on-celery.md) runs, as in the [kill matrix](kill-matrix.md),
  which says how rows begin, how *proven again* is counted, and what is compared. Here {accounts} accounts
  trade, with keys of the tier `{tier}`; orders go on being decided.
- A row that leaves a host cut off counts from the cut: the other host alone has then proven every account
  and settled every order. The host that is connected again finds its tasks given to others.
- Nonces and the room in a key's call counter are rows of the trading database, taken under a lock: every
  host draws from the same ones.

`make two-hosts` does all of it, as root; `python -m benchmarks two-hosts --seed {seed} --only ROW` one row
again. {taken}
"""


def written(figures: Mapping[str, Any], accounts: int, tier: str) -> str:
    """Write the page."""
    together, rows = figures["together"], figures["rows"]
    parts = [together, *rows]
    wrong = [fault for part in parts for fault in part["wrong"]]
    late = [row["does"] for row in rows if row["left"] or row["remedy"]]
    slowest = max(row["seconds"] for row in rows)
    verdict = (
        f"**{'Nothing was lost or doubled' if not wrong else '; '.join(wrong)}; "
        f"{'everything was proven again by itself' if not late else 'not by itself: ' + ', '.join(late)}.** "
        f"The longest took {slowest:.0f} s."
    )
    refused = parts[-1]["refused"]
    told = (
        f"For {together['seconds']} s both worked: {_tasks(together)}; {together['runs_on_both']} of "
        f"{together['runs']} runs reconciled some accounts on one and some on the other. In all, the "
        f"exchange took {parts[-1]['calls']:,} calls and refused {_refused(refused)}."
    )
    return PAGE_TEXT.format(
        verdict=verdict,
        together=told,
        rows="\n".join(_line(row) for row in rows),
        accounts=accounts,
        tier=tier,
        seed=figures["seed"],
        taken=taken(figures),
    )


def _tasks(part: Mapping[str, Any]) -> str:
    return ", ".join(f"`{host}` {count}" for host, count in sorted(part["tasks"].items())) or "none"


def _refused(refused: Mapping[str, int]) -> str:
    return ", ".join(f"{count} as `{code}`" for code, count in sorted(refused.items())) or "none"


def _line(row: Mapping[str, Any]) -> str:
    proven = f"**not**: {', '.join(row['left'])}" if row["left"] else f"{row['seconds']:.0f} s"
    seen = "<br>".join(row["seen"]) or "nothing"
    cells = (row["does"], proven, "; ".join(row["wrong"]) or "nothing", _tasks(row), seen)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def write(figures: Mapping[str, Any], accounts: int, tier: str) -> None:
    """Write the page where it stands."""
    PAGE.write_text(written(figures, accounts, tier), encoding="utf-8")
