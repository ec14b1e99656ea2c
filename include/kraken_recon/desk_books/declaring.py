"""Read the files that declare desk books, and say everything that is wrong with them at once."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic import BaseModel, ValidationError

from kraken_recon.desk_books.cross_checks import mistakes_together, overlapping
from kraken_recon.desk_books.declaration import DeskBook
from kraken_recon.desk_books.rules.records import DeskProblem
from kraken_recon.desk_books.written_tree import Mistake, WrittenTree, read_tree
from kraken_recon.errors import ConfigurationError
from kraken_recon.installed import beside_dags
from kraken_recon.orders.decisions import nearest
from kraken_recon.plain_text import one_line
from kraken_recon.settings import DESK_BOOKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

SUFFIXES: Final = (".yaml", ".yml")
BYTES_MAX: Final = 1_000_000
_LIKENESS_MIN: Final = 0.6
_SHOWN_CHARACTERS_MAX: Final = 60
_EXPECTED: Final = {
    "missing": "is missing",
    "model_type": "expected fields, as `name: value`",
    "dict_type": "expected names and values, as `name: value`",
    "tuple_type": "expected a list, as `[A, B]`",
    "too_short": "expected at least one",
    "string_type": "expected a text",
}


@dataclass(frozen=True, slots=True)
class DeclaredBook:
    """One file: the book that it declares, or None where it cannot be used, and what is wrong with it."""

    file: Path
    book: DeskBook | None
    problems: tuple[DeskProblem, ...] = ()

    @property
    def name(self) -> str:
        """What the book is called; the file's name where it does not say."""
        return self.book.name if self.book else self.file.stem


def folder_of(environment: Mapping[str, str]) -> Path:
    """Say where declarations lie."""
    return Path(environment.get(DESK_BOOKS.name) or beside_dags(environment) / "desk_books")


def read_books(folder: Path) -> tuple[DeclaredBook, ...]:
    """Read every declaration of a folder, by file name; a folder that is not there has none.

    A book over rows that an earlier one is about cannot be used.

    Raises:
        ConfigurationError: it is no folder, or one that cannot be read.
    """
    try:
        listed = sorted(folder.iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigurationError(
            f"{DESK_BOOKS.name}: the desk books of {folder} cannot be listed: {error.strerror}"
        ) from error
    files = [file for file in listed if file.suffix.lower() in SUFFIXES and file.name[0] != "."]
    declared = [read_book(file) for file in files]
    usable = [place for place, one in enumerate(declared) if one.book]
    books = [one.book for one in declared if one.book]
    for later, earlier, shared in overlapping(books):
        one, other = declared[usable[later]], declared[usable[earlier]]
        what = f"it shares {shared} with the book of {other.file.name}"
        problem = DeskProblem(one.file.name, what, "Keep one of them, or tell them apart by only.")
        declared[usable[later]] = replace(one, book=None, problems=(*one.problems, problem))
    return tuple(declared)


def without_book(accounts: Sequence[str], declared: Sequence[DeclaredBook]) -> list[str]:
    """Name the accounts that no usable book is about."""
    books = [one.book for one in declared if one.book]
    if any(book.accounts.by is not None for book in books):
        return []
    return [name for name in accounts if not any(name in book.accounts.values for book in books)]


def read_book(file: Path) -> DeclaredBook:
    """Read one declaration with all mistakes in it."""
    try:
        with file.open("rb") as opened:
            written = opened.read(BYTES_MAX + 1)
        text = written.decode("utf-8-sig")
    except (OSError, UnicodeError) as error:
        return _unreadable(file, (error.strerror if isinstance(error, OSError) else None) or str(error))
    if len(written) > BYTES_MAX:
        return _unreadable(file, f"it has more than {BYTES_MAX:,} bytes")
    book, problems = parse_book(text, file.name)
    return DeclaredBook(file, book, problems)


def _unreadable(file: Path, why: str) -> DeclaredBook:
    what = one_line(f"it cannot be read: {why}")
    return DeclaredBook(file, None, (DeskProblem(file.name, what, "Make it a readable file of UTF-8 text."),))


def parse_book(text: str, file_name: str) -> tuple[DeskBook | None, tuple[DeskProblem, ...]]:
    """Read a declaration from its text; None where there is any mistake."""
    tree = read_tree(text)
    mistakes = list(tree.mistakes)
    book = None
    if tree.content is not None:
        try:
            book = DeskBook.model_validate(tree.content)
        except ValidationError as error:
            mistakes += _misread(error.errors(include_url=False), tree)
        mistakes += mistakes_together(tree)
    if not mistakes:
        return book, ()
    by_line = {(mistake.line or tree.line_of(mistake.path), _problem_of(mistake)) for mistake in mistakes}
    return None, tuple(
        replace(problem, where=f"{file_name}:{line} {problem.where}".rstrip())
        for line, problem in sorted(by_line)
    )


def _problem_of(mistake: Mistake) -> DeskProblem:
    return DeskProblem(".".join(map(str, mistake.path)), one_line(mistake.what), one_line(mistake.remedy))


def _misread(errors: Sequence[ErrorDetails], tree: WrittenTree) -> list[Mistake]:
    """Say what pydantic refused; a field that is missing because it is misspelt is told once."""
    mistakes, meant = [], set()
    for error in errors:
        if error["type"] == "extra_forbidden":
            *above, name = error["loc"]
            fields = _fields_at(tuple(above))
            free = [field for field in fields if field not in tree.block(*map(str, above))]
            near = difflib.get_close_matches(str(name).lower(), free, n=1, cutoff=_LIKENESS_MIN)
            meant |= {(*above, field) for field in near}
            remedy = f"Did you mean {near[0]}?" if near else f"There are {', '.join(fields)}."
            mistakes.append(Mistake(error["loc"], "there is no such field", remedy))
    others = [error for error in errors if error["type"] != "extra_forbidden"]
    return mistakes + [_refused(error) for error in others if error["loc"] not in meant]


def _refused(error: ErrorDetails) -> Mistake:
    path = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] in ("enum", "literal_error"):
        allowed = error.get("ctx", {}).get("expected", "").replace("'", "")
        names = allowed.replace(" or ", ", ").split(", ")
        given = error["input"] if isinstance(error["input"], str) else ""
        return Mistake(path, f"expected {allowed}{nearest(given, names)}", "Write one of them.")
    told = _EXPECTED.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    if isinstance(error["input"], str) and ", was " not in told:
        told += f", was {one_line(error['input'], _SHOWN_CHARACTERS_MAX) or 'empty'}"
    return Mistake(path, told, "Add it." if error["type"] == "missing" else "Change the value.")


def _fields_at(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Name the fields that a mapping at this place may have."""
    model: type[BaseModel] = DeskBook
    for name in path:
        model = _model_in(model.model_fields[str(name)].annotation) or model
    return tuple(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:  # noqa: ANN401 - whatever a field may be
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
