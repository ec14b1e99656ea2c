"""The command that fills a DAG folder, or a bundle that Git delivers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kraken_recon.cli.command import Arguments, Result, argument, command
from kraken_recon.errors import ConfigurationError
from kraken_recon.installed import DAGS, dag_lines

if TYPE_CHECKING:
    from collections.abc import Mapping


@command(
    "dags",
    argument("--to", type=Path, metavar="DIR", help="write them into this folder, which Airflow reads"),
    argument("--replace", action="store_true", help="also files that hold something else"),
)
def dag_files(arguments: Arguments) -> Result:
    """Show or write the files of a DAG folder, one line each."""
    lines = dag_lines()
    if not lines:
        raise ConfigurationError(f"{DAGS} is not installed; pip install kraken-recon brings it")
    if arguments.to is None:
        return {"files": lines}, [f"{name}: {line.rstrip()}" for name, line in lines.items()]
    try:
        written = _write(lines, arguments.to, replaces=arguments.replace)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{arguments.to} cannot be filled: {error}") from error
    view = {"folder": str(arguments.to), "files": lines, "written": written}
    return view, [f"{arguments.to / name}: {'written' if name in written else 'was there'}" for name in lines]


def _write(lines: Mapping[str, str], folder: Path, *, replaces: bool) -> list[str]:
    """Write what is not there yet, or nothing.

    Raises:
        ConfigurationError: a file of that name holds something else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = {name: (folder / name).read_bytes() for name in lines if (folder / name).exists()}
    others = [name for name, text in there.items() if text != lines[name].encode()]
    if others and not replaces:
        raise ConfigurationError(
            f"{folder} holds other files of these names: {', '.join(others)}; nothing was written. "
            "Look at them, then say --replace"
        )
    written = [name for name in lines if name in others or name not in there]
    for name in written:
        (folder / name).write_text(lines[name])
    return written
