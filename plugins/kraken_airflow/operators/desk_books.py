"""The tasks about desk books: which are declared, judge each by what a run proved, say what came out.

Only names and run ids travel between tasks; amounts stay in the database, where they are exact.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule

from kraken_airflow.dag_parts.defaults import DESK_POOL, EXCHANGE_QUEUE
from kraken_airflow.hooks.desk_book import DeskBookHook
from kraken_airflow.hooks.kraken import KrakenHook
from kraken_airflow.operators.base import TradingDbOperator, run_ids_of
from kraken_airflow.telemetry.lineage import desk_agreements, desk_lineage
from kraken_airflow.telemetry.task_log import counted, label_of, named
from kraken_recon.desk_books.declaring import folder_of, read_books
from kraken_recon.desk_books.run import reconcile_book, settle_books
from kraken_recon.desk_books.store import DeskBookStore
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from kraken_airflow.hooks.trading_db import TradingDbHook
    from kraken_recon.desk_books.declaring import DeclaredBook
    from kraken_recon.desk_books.diffing import DeskBookPorts
    from kraken_recon.desk_books.run import BookOutcome


class ListDeskBooksOperator(TradingDbOperator):
    """Name the desk books that are declared, and end what is still told of others."""

    page = "differences"
    READS = ("desk_writes",)
    WRITES = ("desk_writes", "repair_plans", "alerts")

    def work(self, _: Context, hook: TradingDbHook) -> list[str]:
        """Read the folder of declarations; a file with mistakes in it is a book that cannot be judged."""
        folder = folder_of(os.environ)
        declared = read_books(folder)
        if folder.is_dir():
            settle_books(declared, desk_book_ports(hook))
        names = [one.name for one in declared]
        self.tell([f"Declared in {folder}: {named(names)} ({counted(len(names), 'desk book')})"])
        return names


class ReconcileDeskBookOperator(TradingDbOperator):
    """Judge one desk book for the accounts that this run proved, and write what it allows.

    A book that cannot be read is told of in an alert, and is judged by the next run.

    Args:
        book: its name.
        run_ids: what each mapped task that reconciled accounts returned.
    """

    template_fields = (*TradingDbOperator.template_fields, "book", "run_ids")
    page = "differences"
    BOOKS = ("OpenOrders", "ClosedOrders", "QueryOrders")
    READS = (
        *("accounts", "reconciliation_runs", "positions", "ledger_entries", "fills", "asset_costs"),
        "order_books",
    )
    WRITES = (
        "desk_book_runs",
        "desk_differences",
        "desk_standings",
        "desk_writes",
        "desk_orders",
        "desk_order_reads",
        "orders",
        "order_events",
        "order_verifications",
        "repair_plans",
        "repair_plan_rows",
        "alerts",
    )

    def __init__(self, *, book: str, run_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.book = book
        self.run_ids = run_ids

    def name_in_lists(self) -> str:
        """Name the task in Airflow's lists by its book."""
        return label_of([self.book])

    def work(self, _: Context, hook: TradingDbHook) -> None:
        """Judge the book; the folder is read again, because the file may lie on another machine by now."""
        declared = next((one for one in read_books(folder_of(os.environ)) if one.name == self.book), None)
        if declared is None:
            self.tell([f"{self.book} is not declared on this machine"])
            return
        outcome = reconcile_book(declared, run_ids_of(self.run_ids), desk_book_ports(hook))
        self._name_tables(declared, outcome)
        self.tell(outcome.lines)

    def _name_tables(self, declared: DeclaredBook, outcome: BookOutcome) -> None:
        """Add the desk's tables to the lineage; a connection that cannot be used is told of by the run."""
        if declared.book is None:
            return
        with suppress(ConfigurationError):
            address = DeskBookHook(declared.book.connection).address()
            tables = desk_lineage(declared.book, address)
            self.inlets = [*self.inlets, *tables["inlets"]]
            self.outlets = [*self.outlets, *tables["outlets"]]
            self.agreements = desk_agreements(declared.book, address, outcome.accounts)


class PublishDeskBooksOperator(TradingDbOperator):
    """Log how many accounts stand how in each desk book after this run, and return that.

    It is the last task about desk books, so that none of them decides how the run ends.

    Args:
        run_ids: what each mapped task that reconciled accounts returned.
    """

    template_fields = (*TradingDbOperator.template_fields, "run_ids")
    page = "differences"
    READS = ("desk_book_runs",)

    def __init__(self, *, run_ids: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_ids = run_ids

    def work(self, _: Context, hook: TradingDbHook) -> dict[str, dict[str, int]]:
        """Count the accounts of each book by how they stand."""
        with hook.unit_of_work() as unit:
            counts = DeskBookStore(unit).counts_of_runs(run_ids_of(self.run_ids))
        lines = [
            f"{book}: " + ", ".join(f"{counted(n, 'account')} {status}" for status, n in sorted(of.items()))
            for book, of in counts.items()
        ]
        self.tell(lines or ["No desk book was judged"])
        return counts


def desk_book_ports(hook: TradingDbHook) -> DeskBookPorts:
    """Wire the books of desks to the databases and the keys that Airflow's connections name."""
    return hook.wiring().desk_book_ports(
        lambda connection: DeskBookHook(connection).address(),
        lambda connection: KrakenHook(connection).credentials(),
    )


def reconcile_desk_books(run_ids: Any) -> PublishDeskBooksOperator:
    """Add the tasks that judge each desk book by what these runs proved; return the last of them."""
    books = ListDeskBooksOperator(task_id="list_desk_books")
    judged = ReconcileDeskBookOperator.partial(
        task_id="reconcile_desk_books",
        run_ids=run_ids,
        map_index_template="{{ task.name_in_lists() }}",
        **ReconcileDeskBookOperator.lineage(),
        trigger_rule=TriggerRule.ALL_DONE,
        pool=DESK_POOL,
        queue=EXCHANGE_QUEUE,
        # The next run judges again, and must not have to wait for this one.
        retries=1,
        execution_timeout=timedelta(minutes=5),
    ).expand(book=books.output)
    # The last task decides how the run ended: a desk's database is no reason for a run to fail. Where no book
    # is declared there is nothing to say, and no process is started for it.
    told = PublishDeskBooksOperator(
        task_id="publish_desk_books", run_ids=run_ids, trigger_rule=TriggerRule.NONE_SKIPPED
    )
    judged >> told
    return told
