"""Make the roles of the trading schema, grant them what they may, and tell what only an administrator can do.

Invariants:
1. Whatever may not be done fails nothing: the schema works for who owns it, and what is left is told as SQL.
2. Running again changes nothing. Roles that exist are used, whoever made them for whichever database.
3. Rights beyond those of ``rights.py`` are taken back from the roles; logins are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from kraken_recon.database.arrays import array_literal
from kraken_recon.database.named_sql import load
from kraken_recon.database.rights import Right, Role, Schema, rights_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.engine import Connection

QUERIES: Final = {name: sa.text(query) for name, query in load(__file__, "roles").items()}
ROLES: Final = tuple(map(str, Role))
GRANTED: Final = tuple(role for role in Role if role is not Role.OWNER)
# Two databases of one server may make the roles at once; whoever comes second finds them.
_CREATE: Final = """do $$
begin
  create role {role} nologin;
exception
  when duplicate_object or unique_violation then null;
end
$$"""


@dataclass(frozen=True, slots=True)
class RoleStanding:
    """Who a session is in the trading database.

    Attributes:
        login: the role that logged in.
        database: the database that it is in.
        is_superuser: whom no right and no trigger keeps from anything.
        may_create_roles: whether ``migrate`` can make the roles as this login.
        may_migrate: whether it owns the schema, by itself or as a member.
        schema_owner: who owns the schema; empty where there is none.
        existing: our roles that the server has.
        held: our roles that the login is a member of.
    """

    login: str
    database: str
    is_superuser: bool
    may_create_roles: bool
    may_migrate: bool
    schema_owner: str
    existing: frozenset[str]
    held: frozenset[str]


def standing(connection: Connection, schema: str) -> RoleStanding:
    """Say who a session is, and which of our roles it has."""
    row = connection.execute(
        QUERIES["who_asks"], {"schema": schema, "roles": array_literal(list(ROLES))}
    ).one()
    said = row._asdict()
    return RoleStanding(**said | {name: frozenset(said[name]) for name in ("existing", "held")})


def lacking(connection: Connection, schema: str, role: Role = Role.WRITER) -> list[Right]:
    """List what this session lacks of what ``role`` may; of the owner's, whether it owns the schema."""
    if role is Role.OWNER:
        return [] if standing(connection, schema).may_migrate else [Right("schema", schema, "own")]
    wanted = sorted(rights_of(role, _parts(connection, schema), schema))
    values = {
        "kinds": [right.kind for right in wanted],
        "names": [right.name for right in wanted],
        "verbs": [right.verb for right in wanted],
        "columns": [right.column for right in wanted],
    }
    arrays = {name: array_literal(value) for name, value in values.items()}
    return [
        wanted[place - 1]
        for place in connection.execute(QUERIES["lacking"], arrays | {"schema": schema}).scalars()
    ]


def establish_roles(connection: Connection, schema: str) -> None:
    """Make the roles, hand the schema to the owner's, and grant the others theirs, as far as allowed."""
    here = standing(connection, schema)
    if here.may_create_roles:
        for role in ROLES:
            if role not in here.existing:
                connection.exec_driver_sql(_CREATE.format(role=role))
        connection.execute(QUERIES["join_owner"])
    here = standing(connection, schema)
    if Role.OWNER in here.existing:
        connection.execute(QUERIES["take_over"])
    if here.may_migrate and (changes := _changes(connection, schema, here.existing)):
        connection.exec_driver_sql(";\n".join(changes))


def left_to_do(connection: Connection, schema: str) -> list[str]:
    """Write what is missing as SQL for an administrator; nothing where all is as it should be."""
    here = standing(connection, schema)
    statements = [f"create role {role} nologin" for role in ROLES if role not in here.existing]
    if here.schema_owner != Role.OWNER:
        statements += [f"grant {Role.OWNER} to {_quoted(connection, here.login)}"]
        database = _quoted(connection, here.database)
        statements += [f"grant create on database {database} to {Role.OWNER}"]
    return [f"{statement};" for statement in statements]


def _changes(connection: Connection, schema: str, existing: Collection[str]) -> list[str]:
    """Write what makes the roles' rights those of ``rights.py``: grants, then what is taken back."""
    parts = _parts(connection, schema)
    rows = connection.execute(
        QUERIES["granted"], {"schema": schema, "roles": array_literal(list(map(str, GRANTED)))}
    ).all()
    statements = []
    for role in GRANTED:
        if role not in existing:
            continue
        wanted = rights_of(role, parts, schema)
        held = {Right(row.kind, row.name, row.verb, row.column) for row in rows if row.role == role}
        statements += [f"grant {right} to {role}" for right in sorted(wanted - held)]
        statements += [f"revoke {right} from {role}" for right in sorted(held - wanted)]
    open_to_all = {Right(row.kind, row.name, row.verb) for row in rows if row.role == "public"}
    return statements + [f"revoke {right} from public" for right in sorted(open_to_all)]


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)


def _parts(connection: Connection, schema: str) -> Schema:
    rows = connection.execute(QUERIES["schema_parts"], {"schema": schema}).all()
    named = {
        key: frozenset(row.name for row in rows if (row.kind, row.is_marked) == key)
        for key in product(("table", "view", "function"), (False, True))
    }
    return Schema(
        tables=named["table", False] | named["table", True],
        views=named["view", False],
        append_only=named["table", True],
        readable_functions=named["function", False],
        writing_functions=named["function", True],
    )
