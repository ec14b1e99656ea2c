"""Python files, found and read."""

from __future__ import annotations

import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PythonSource:
    """One file: its text, or why it could not be read."""

    path: Path
    text: str = ""
    problem: str = ""


def read_sources(paths: Iterable[Path], *, exclude: Iterable[Path] = ()) -> Iterator[PythonSource]:
    """Read each file once: those named, and those below the named folders except in hidden ones.

    Args:
        paths: files and folders.
        exclude: files and folders to leave out.
    """
    left_out = [place.resolve() for place in exclude]
    seen = set()
    for path in paths:
        try:
            files = _python_files(path) if path.is_dir() else [path]
        except OSError as error:  # a name that is too long, a folder that may not be read
            yield PythonSource(path, problem=error.strerror or type(error).__name__)
            continue
        for file in files:
            place = file.resolve()
            if place not in seen and not any(place.is_relative_to(excluded) for excluded in left_out):
                seen.add(place)
                yield _read(file)


def _python_files(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.rglob("*.py")
        if not any(part.startswith(".") for part in file.relative_to(folder).parts) and not file.is_dir()
    )


def _read(file: Path) -> PythonSource:
    try:
        with tokenize.open(file) as text:
            return PythonSource(file, text.read())
    except OSError as error:
        return PythonSource(file, problem=error.strerror or type(error).__name__)
    except (UnicodeDecodeError, SyntaxError) as error:  # tokenize's own, for an unknown or wrong encoding
        return PythonSource(file, problem=f"not readable as text: {error}")
