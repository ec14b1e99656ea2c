"""What the doctor reads in databases; every statement is a named query of ``doctor.sql``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa

from kraken_recon.alerts.heartbeat_store import HeartbeatStore
from kraken_recon.database.rights import Role
from kraken_recon.database.roles import lacking, standing
from kraken_recon.database.store import SCHEMA, Store, named_queries
from kraken_recon.doctor.rules.readings import AuditRole, DatabaseReading

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

Read = TypeVar("Read")

# The most powerful first; whoever has none of them is taken for one who should work as the writer.
_WORKING_ROLES: Final = (Role.WRITER, Role.AUDITOR, Role.READER)


class DoctorStore(Store):
    """One look at a database, whatever state its schema and its rights are in."""

    queries = named_queries(__file__, "doctor")

    def look(self, clock: Callable[[], datetime]) -> DatabaseReading:
        """Read the server, and as much of our schema as there is and as the role may.

        Raises:
            StoreError: the server could not be asked.
        """
        before = clock()
        server = self._execute("server").one()
        after = clock()
        is_readable = server.may_read_revision
        return DatabaseReading(
            server.server_version,
            server.login,
            server.takes_no_writes,
            has_schema=server.has_schema,
            revision=str(self._execute("revision").scalar() or "") if is_readable else "",
            # Between question and answer nobody can tell.
            clock_ahead=max(server.now - after, timedelta(0)) - max(before - server.now, timedelta(0)),
            data_directory=server.data_directory,
            **self._role() if server.has_schema else {},
            accounts=self._attempted(lambda: dict(map(tuple, self._execute("accounts").all()))),
            traders=frozenset(self._attempted(lambda: self._execute("traders").scalars().all()) or ()),
            heartbeats=self._attempted(lambda: tuple(HeartbeatStore(self._unit).heartbeats(after))),
        )

    def _role(self) -> dict[str, Any]:
        """Say which of our roles the login works as, and what it lacks of that role's rights."""
        held = standing(self._connection, SCHEMA).held
        role = next((role for role in _WORKING_ROLES if role in held), Role.WRITER)
        return {"role": role, "lacks": tuple(map(str, lacking(self._connection, SCHEMA, role)))}

    def audit_role(self, connection: str) -> AuditRole:
        """Say what the role of a connection may do with sessions."""
        return AuditRole(connection, **self._execute("audit_role").mappings().one())

    def _attempted(self, read: Callable[[], Read]) -> Read | None:
        """Read something; None where there is no such table, or the role may not."""
        try:
            with self._connection.begin_nested():
                return read()
        except sa.exc.ProgrammingError:
            return None
