"""What keeps desk books from being judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kraken_recon.doctor.rules.diagnosis import not_checked, well, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kraken_recon.desk_books.rules.records import DeskProblem
    from kraken_recon.doctor.rules.diagnosis import Diagnosis


def diagnose_desks(books: Mapping[str, Sequence[DeskProblem] | None]) -> Iterator[Diagnosis]:
    """Say of each book what is wrong with it; None of a book whose database did not answer in time."""
    for name, problems in books.items():
        check = f"desk book {name}"
        if problems is None:
            yield not_checked(
                check, "its database did not answer in time", "python -m kraken_recon book check FILE"
            )
        for one in problems or ():
            meaning = "The desk's own table is not compared with what is proven."
            yield wrong(check, f"{one.where}: {one.what}", meaning, one.remedy)
    if not books:
        yield well("desk books", "none is declared")
    elif not any(problems is None or problems for problems in books.values()):
        yield well("desk books", f"{len(books)} can be judged: {', '.join(books)}")
