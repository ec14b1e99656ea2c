"""A run that is killed between any two steps, on either database, leaves a desk's rows whole and all told.

Each child is a fork of the test and kills itself with SIGKILL before or after one statement of either
database; what it leaves is settled as the next run does it.
"""

from __future__ import annotations

import os
import re
import signal
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from desks.desk_writing import WrittenDesk
from desks.fake_exchange import Desk
from kraken_recon.desk_books.writing import settle_unfinished, write_back
from local_stack.processes import poll_until

if TYPE_CHECKING:
    from conftest import NewDeskDatabase

STEPS_MAX = 80
LOOKS_AT_THE_SCHEMA = re.compile(r"pg_catalog|pragma|sqlite_master", re.IGNORECASE)
PROVEN = {"BTC": Decimal("1.5"), "ETH": Decimal(2), "XRP": Decimal(3), "USD": Decimal("900.25")}
AS_IT_WAS = """
delete from positions where account_id = 1 and market = 'CRYPTO';
insert into positions values (1, 1, 'BTC', 'n', 'CRYPTO', 'v1', 1, 0, null, 'true', null);
insert into positions values (2, 1, 'SOL', 'n', 'CRYPTO', 'v1', 7, 0, null, 'true', null);
insert into positions values (3, 1, 'XRP', 'n', 'CRYPTO', 'v1', 3, 0, null, 'true', null);
update accounts set current_cash = 1000 where id = 1
"""


def killed_at(written: WrittenDesk, at: int) -> bool:
    """Write in a child that kills itself at a step of any database; say whether it got that far."""
    judged = written.judge(PROVEN)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            reached = [0]

            def step(*_: object) -> None:
                reached[0] += 1
                if reached[0] == at:
                    os.kill(os.getpid(), signal.SIGKILL)

            def statement(_: object, __: object, text: str, *___: object) -> None:
                if not LOOKS_AT_THE_SCHEMA.search(text):
                    step()

            sa.event.listen(sa.Engine, "before_cursor_execute", statement)
            sa.event.listen(sa.Engine, "commit", step)
            write_back(judged, written.ports)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def rows(written: WrittenDesk) -> list[object]:
    """Read the account's rows and its cash."""
    with written.database.engine.connect() as session:
        cash = session.exec_driver_sql("select current_cash from accounts where id = 1").scalar_one()
    return [written.positions(), f"{cash:.2f}"]


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_killed_anywhere_nothing_is_doubled_and_all_is_told(
    kind: str, database_url: str, new_desk_database: NewDeskDatabase
) -> None:
    written = WrittenDesk(Desk(database_url), new_desk_database(kind))
    written.fill(BTC=Decimal(1), SOL=Decimal(7), XRP=Decimal(3))
    before = rows(written)
    write_back(written.judge(PROVEN), written.ports)
    after = rows(written)
    assert after != before
    outcomes = set()
    for number in range(1, STEPS_MAX):
        written.database.run(AS_IT_WAS)
        known = {one["write_id"] for one in written.writes()}
        was_killed = killed_at(written, number)
        left = rows(written)
        assert left in (before, after), f"half done at step {number}"

        def is_settled() -> bool:
            assert settle_unfinished(written.ports, lambda _: True) == []
            return all(one["state"] != "writing" for one in written.writes())

        # The server notices the death of a session a moment later.
        assert poll_until(is_settled, timeout_seconds=10, pause_seconds=0.01)
        assert rows(written) == left
        told = {one["state"] for one in written.writes() if one["write_id"] not in known}
        assert told in ({"written" if left == after else "skipped"}, set() if left == before else {""})
        outcomes.add(*told or {"nothing"})
        if left == before:
            write_back(written.judge(PROVEN), written.ports)
        assert rows(written) == after, f"killed at step {number}"
        assert {one["status"] for one in written.plans()} <= {"applied", "outdated"}
        if not was_killed:
            break
    else:
        pytest.fail(f"a write has more than {STEPS_MAX} steps: raise STEPS_MAX")
    assert outcomes == {"nothing", "skipped", "written"}
