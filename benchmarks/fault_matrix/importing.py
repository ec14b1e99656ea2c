"""The import of Kraken's exports: what is wrong with a file, at first; then the file as it is."""

from __future__ import annotations

import csv
import io
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.fault_matrix.fault import Fault
from benchmarks.fault_matrix.fields import AMOUNTS
from benchmarks.fault_matrix.syncing import Syncing, happenings, reconcile
from kraken_recon.history.importing import import_exports
from kraken_recon.kraken.export_files import read_exports
from kraken_sim.faults.altered_fields import alter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


JOB: Final = "history_import"
HEADER: Final = (
    *("txid", "refid", "time", "type", "subtype", "aclass", "subclass", "asset", "wallet"),
    *("amount", "fee", "balance"),
)
TEXT_WAYS: Final = ("dropped", "empty", "endless", "swapped")
AMOUNT_WAYS: Final = (*TEXT_WAYS, "zero", "huge", "tiny", "negative")
#: What is wrong with a whole file.
FILES: Final = (
    *(
        "cut in a row",
        "cut in a zip",
        "empty",
        "a web page",
        "without its header",
        "in UTF-16",
        "with semicolons",
    ),
    *(
        "a row missing",
        "a row twice",
        "two rows swapped",
        "two columns swapped",
        "balances of another account",
    ),
)
#: Nothing else in a file says what these are.
UNCHECKED: Final = frozenset({"txid", "refid", "type", "subtype"})
LIE: Final = (
    "two names in one row of a file changed places; nothing else in it says which is which, all amounts add"
    " up, and the position is right"
)
SECONDS_AHEAD: Final = 90 * 60


@dataclass
class Importing(Syncing):
    """A history is imported before the account is reconciled for the first time."""

    job: ClassVar = JOB
    table: list[dict[str, Any]] = field(default_factory=list)

    def prepare(self) -> None:
        """Let things happen that nobody here knows of yet."""
        self.open(entries=happenings(self.lane.now.timestamp(), 0))
        self.lane.advance(SECONDS_AHEAD)
        self.table = [exported(row) for row in self.lane.statement(self.struck)["ledger"]]

    def run(self) -> set[str]:
        """Import the file, spoiled or not."""
        kind, options = self.spoiled or ("", {})
        file = self.lane.place / "ledgers.csv"
        file.write_bytes(written(self.table, kind, options))
        self.met += bool(kind)
        [account] = self.lane.accounts(self.struck)
        import_exports(account, read_exports(file, self.lane.now), self.lane.unit_of_work)
        return self.alerts()

    def recover(self) -> set[str]:
        """Import the file as it is, and reconcile."""
        told = self.run()
        reconcile(self)
        return told

    def unfinished(self) -> list[str]:
        """Nothing that is recorded was never so; where nothing is, the file was not taken."""
        return super().unfinished_of_struck() if self.positions(self.struck) else []


def exported(row: Mapping[str, str]) -> dict[str, Any]:
    """Write a row of the ledger as Kraken exports it."""
    at = datetime.fromtimestamp(float(row["time"]), UTC)
    names = {"XXBT": "BTC", "XETH": "ETH", "ZUSD": "USD"}
    return {
        **{name: row.get(name, "") for name in HEADER},
        "txid": row["id"],
        "time": f"{at:%Y-%m-%d %H:%M:%S}",
        "asset": names[row["asset"]],
        "wallet": "spot / main",
    }


def written(table: list[dict[str, Any]], kind: str, options: Mapping[str, Any]) -> bytes:
    """Write the file, with what is wrong with it."""
    rows, header = spoiled_rows(table, kind, options), list(HEADER)
    if kind == "two columns swapped":
        header[-1], header[-3] = header[-3], header[-1]
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";" if kind == "with semicolons" else ",", lineterminator="\n")
    writer.writerows([header, *([str(row.get(name, "")) for name in HEADER] for row in rows)])
    text = out.getvalue()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ledgers.csv", text)
    contents = {
        "cut in a row": text[:-25].encode(),
        "cut in a zip": packed.getvalue()[:-40],
        "empty": b"",
        "a web page": b"<html><body>Sign in</body></html>",
        "without its header": text.partition("\n")[2].encode(),
        "in UTF-16": text.encode("utf-16"),
    }
    return contents.get(kind, text.encode())


def spoiled_rows(table: list[dict[str, Any]], kind: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Copy the rows, with what is wrong with them."""
    rows = [dict(row) for row in table]
    match kind:
        case "field":
            spoiled = alter({"rows": rows}, f"rows.1.{options['column']}", str(options["how"]))
            return spoiled["rows"] if spoiled else rows
        case "a row missing":
            del rows[2]
        case "a row twice":
            rows.insert(2, rows[2])
        case "two rows swapped":
            rows[1]["balance"], rows[4]["balance"] = rows[4]["balance"], rows[1]["balance"]
        case "balances of another account":
            rows[:3] = [row | {"balance": f"{float(row['balance']) + 1:.4f}"} for row in rows[:3]]
    return rows


def spoiled_files() -> Iterator[Fault]:
    """List the rows about files."""
    for kind in FILES:
        yield Fault(f"file {kind}", kind, group="A file of an import", jobs=(JOB,), where="input")
    for column in HEADER:
        for how in AMOUNT_WAYS if column in AMOUNTS | {"fee"} else TEXT_WAYS:
            yield Fault(
                f"file field {column} {how}",
                "field",
                {"column": column, "how": how},
                "A field of an import",
                jobs=(JOB,),
                where="input",
                lie=LIE if how == "swapped" and column in UNCHECKED else "",
            )
