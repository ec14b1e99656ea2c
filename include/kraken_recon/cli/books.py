"""The commands about desk books: ``book init``, ``check``, ``list`` and ``diff``; all of them only read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kraken_recon.cli.command import ACCOUNT, Arguments, Result, argument, command, group
from kraken_recon.cli.exit_statuses import ExitStatus
from kraken_recon.cli.trading_db import credentials_of, environment, wired
from kraken_recon.desk_books.address import address_from_environment
from kraken_recon.desk_books.checking import check_book, guess
from kraken_recon.desk_books.declaring import folder_of, read_book, read_books, without_book
from kraken_recon.desk_books.diffing import DeskBookPorts, diff_account, proven_account
from kraken_recon.desk_books.run import reconcile_book, settle_books
from kraken_recon.desk_books.store import DeskBookStore
from kraken_recon.desk_books.terminal import render_check, render_diff, render_list, render_without_book
from kraken_recon.desk_books.view import check_view, diff_view, list_view
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from kraken_recon.desk_books.address import DeskAddress


@command(
    "init",
    argument("--connection", required=True, metavar="ID", help="of the desk's database, such as arena_db"),
    argument("--output", type=Path, metavar="FILE", help="a new file; default: standard output"),
)
def init(arguments: Arguments) -> Result:
    """Look at a desk's database and write a declaration for a person to finish."""
    text = guess(desk_address_of(arguments.connection))
    view = {"connection": arguments.connection, "declaration": text, "file": None}
    if arguments.output is None:
        return view, text.splitlines()
    try:
        with arguments.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigurationError(f"{arguments.output} is there already; name a new file") from error
    except OSError as error:
        raise ConfigurationError(f"cannot write {arguments.output}: {error.strerror}") from error
    told = f"written to {arguments.output}: finish it, then `book check {arguments.output}`"
    return {**view, "file": str(arguments.output)}, [told]


@command("check", argument("file", type=Path, metavar="FILE"))
def check(arguments: Arguments) -> Result:
    """Try a declaration: what it makes of the desk's rows, and all that is wrong with it."""
    checked = check_book(read_book(arguments.file), desk_book_ports())
    view = check_view(checked)
    return view if view["ok"] else {**view, "exit_status": ExitStatus.FAILED}, render_check(view)


@command("list")
def list_books(_: Arguments) -> Result:
    """List the declared desk books, and what keeps any of them from being used."""
    folder = folder_of(os.environ)
    books = list_view(read_books(folder))
    return {"folder": str(folder), "books": books}, render_list(books)


@command("diff", ACCOUNT)
def diff(arguments: Arguments) -> Result:
    """Compare an account's newest proof with every desk book about it, now."""
    ports = desk_book_ports()
    account = proven_account(arguments.account, ports)
    judged = diff_account(account, read_books(folder_of(os.environ)), ports)
    view = diff_view(account.name, account.proven_at, judged)
    could_look = all(one.is_whole for one in judged)
    return view if could_look else {**view, "exit_status": ExitStatus.FAILED}, render_diff(view)


def told_without_book(view: dict[str, Any]) -> list[str]:
    """Add to a view which of its accounts no desk book is about; return the same as lines."""
    names = [account.get("account") or account["name"] for account in view["accounts"]]
    try:
        view["without_desk_book"] = without_book(names, read_books(folder_of(os.environ)))
    except ConfigurationError as error:
        # What the report is about stands, whatever became of the declarations.
        view["without_desk_book"] = names
        return ["", str(error)]
    return ["", *render_without_book(view["without_desk_book"])] if view["without_desk_book"] else []


def judge_declared_books(run_ids: Sequence[UUID]) -> None:
    """Judge every desk book by what these runs proved; the report shows what came of it."""
    folder = folder_of(os.environ)
    try:
        declared = read_books(folder)
    except ConfigurationError:
        # The report names what keeps the folder from being read.
        return
    ports = desk_book_ports()
    if folder.is_dir():
        settle_books(declared, ports)
    for one in declared:
        reconcile_book(one, run_ids, ports)


def told_desk_books_now(view: dict[str, Any]) -> list[str]:
    """Add to a dry run how the desk's books stand now, by the newest proofs; return the same as lines."""
    ports, declared = desk_book_ports(), read_books(folder_of(os.environ))
    names = [account["account"] for account in view["accounts"]]
    with ports.open_unit_of_work() as unit:
        accounts = DeskBookStore(unit).proofs(names, ports.clock())
    proven = [account for account in accounts if declared and account.is_fresh]
    view["desk_books"] = [
        diff_view(account.name, account.proven_at, diff_account(account, declared, ports))
        for account in proven
    ]
    return [line for one in view["desk_books"] for line in ("", *render_diff(one))]


def desk_book_ports() -> DeskBookPorts:
    """Wire the books of desks to the databases and the keys that the environment names."""
    return wired().desk_book_ports(desk_address_of, credentials_of)


def desk_address_of(connection: str) -> DeskAddress:
    """Find a desk's database by the id of its connection."""
    return address_from_environment(connection, environment())


BOOK_COMMANDS: Final = group(
    "book",
    "Compare tables of the desk's own with what is proven.",
    *(init, check, list_books, diff),
)
