"""Try the declarations of desk books on the desks' databases; no row is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kraken_recon.desk_books.checking import rights_problems
from kraken_recon.desk_books.row_store import read_book
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.desk_books.session_store import DeskLimits
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.doctor.ports import DoctorPorts

LIMITS: Final = DeskLimits(connect_timeout_seconds=3, statement_timeout_seconds=3, lock_timeout_seconds=2)


def look_at_desk(declared: DeclaredBook, ports: DoctorPorts) -> Sequence[DeskProblem]:
    """Say what keeps a book from being judged: its declaration, connection, tables, or rights."""
    book = declared.book
    if book is None:
        return declared.problems
    try:
        address = ports.address_of(book.connection)
    except ConfigurationError as error:
        return [DeskProblem(declared.name, str(error), "Set the connection that the declaration names.")]
    # Of no account, so that tables are described and not read.
    reading = read_book(address, book, (), LIMITS)
    return [*reading.problems, *rights_problems(book, reading)]
