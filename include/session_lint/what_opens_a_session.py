"""Which expressions open an engine, a pool, a session, a connection or a cursor.

Full names decide where imports tell them; where a value comes from elsewhere, the names that everybody uses
(``engine.connect()``, ``SessionLocal()``, ``hook.get_conn()``) do.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from session_lint.imported_names import assigned_by, last_name, own_nodes, path_of
from session_lint.kinds import HELD, Kind, OpeningCall
from session_lint.vocabulary import ENTERERS

if TYPE_CHECKING:
    from collections.abc import Iterator


_SQLALCHEMY: Final = {
    "create_engine": Kind.ENGINE,
    "engine_from_config": Kind.ENGINE,
    "create_async_engine": Kind.ENGINE,
    "async_engine_from_config": Kind.ENGINE,
    "sessionmaker": Kind.FACTORY,
    "async_sessionmaker": Kind.FACTORY,
    "scoped_session": Kind.REGISTRY,
    "async_scoped_session": Kind.REGISTRY,
    "Session": Kind.SESSION,
    "AsyncSession": Kind.SESSION,
}
_DRIVERS: Final = frozenset(
    [
        "psycopg",
        "psycopg.Connection",
        "psycopg.AsyncConnection",
        "psycopg2",
        "asyncpg",
        "sqlite3",
        "aiosqlite",
        "pymysql",
        "MySQLdb",
        "mysql.connector",
        "pyodbc",
        "cx_Oracle",
        "oracledb",
        "pymssql",
        "aiopg",
        "aiomysql",
        "duckdb",
        "snowflake.connector",
        "trino.dbapi",
        "redshift_connector",
    ]
)
_WITH_LEAVES_OPEN: Final = frozenset({"psycopg2", "sqlite3", "pyodbc"})
_POOL_MODULES: Final = ("psycopg_pool.", "psycopg2.pool.")
_POOL_MAKERS: Final = frozenset({"asyncpg.create_pool", "aiopg.create_pool", "aiomysql.create_pool"})
_SQL_HOOK: Final = re.compile(
    r"(Postgres|MySql|Sqlite|MsSql|Oracle|Odbc|Jdbc|Trino|Presto|Snowflake|Vertica|RedshiftSQL|Exasol|DbApi)Hook$"
)
_HOOK_NAME: Final = re.compile(r"^(pg|postgres\w*|my_?sql|db|database|sqlite|mssql|dbapi)_?hook$")
_LEAKY_HOOK: Final = re.compile(r"(Postgres|Sqlite|Odbc)Hook$")
_FACTORY_NAME: Final = re.compile(
    r"^((Async|async_)?[Ss]ession_?(Local|Factory|factory|[Mm]aker)|AsyncSessionLocal|async_session(_local)?)$"
)
_ENGINE_NAME: Final = re.compile(r"^(\w+_)?engine$", re.IGNORECASE)
_POOL_NAME: Final = re.compile(r"^(\w+_)?pool$", re.IGNORECASE)
_CONNECTION_NAME: Final = re.compile(r"^(\w+_)?(conn|connection|cnx)$", re.IGNORECASE)
# The dependencies of web frameworks, as their tutorials name them.
_GENERATOR_NAME: Final = re.compile(r"^(get|yield|provide)_(async_)?(db|database|session|db_session)$")
_ITERATED: Final = frozenset({"iter", "aiter", "list", "tuple"})
_STEPS: Final = frozenset({"__next__", "__anext__", "send", "asend"})
_UNIT_NAME: Final = re.compile(r"(unit_of_work|UnitOfWork|(^|_)uow|UoW)$", re.IGNORECASE)
_CLIENT: Final = re.compile(
    r"^(requests\.[Ss]ession|httpx\.(Async)?Client|aiohttp\.ClientSession|urllib3\.PoolManager"
    r"|http\.client\.HTTPS?Connection|subprocess\.Popen)$|(^|\.)Http(Async)?Hook$"
)
_EXCHANGE: Final = re.compile(
    r"(^|\.)(open_exchange|KrakenClient)$|^krakenex\.API$|^kraken\.spot\.\w+$|^ccxt\.\w+$"
)
_ANNOTATIONS: Final = {
    "Engine": Kind.ENGINE,
    "AsyncEngine": Kind.ENGINE,
    "sessionmaker": Kind.FACTORY,
    "async_sessionmaker": Kind.FACTORY,
    "ConnectionPool": Kind.POOL,
    "AsyncConnectionPool": Kind.POOL,
    "Exchange": Kind.EXCHANGE,
    "KrakenClient": Kind.EXCHANGE,
}
# What gives a thing of another kind: what it gives, and whether only a with block opens it.
_METHODS: Final = {
    (Kind.ENGINE, "connect"): (Kind.CONNECTION, False),
    (Kind.ENGINE, "raw_connection"): (Kind.CONNECTION, False),
    (Kind.ENGINE, "begin"): (Kind.CONNECTION, True),
    (Kind.POOL, "getconn"): (Kind.CONNECTION, False),
    (Kind.POOL, "acquire"): (Kind.CONNECTION, False),
    (Kind.POOL, "connection"): (Kind.CONNECTION, True),
    (Kind.FACTORY, "begin"): (Kind.SESSION, True),
    (Kind.REGISTRY, "registry"): (Kind.SESSION, False),
    (Kind.CONNECTION, "cursor"): (Kind.CURSOR, False),
    (Kind.HOOK, "get_conn"): (Kind.CONNECTION, False),
    (Kind.HOOK, "get_session"): (Kind.SESSION, False),
    (Kind.LEAKY_HOOK, "get_conn"): (Kind.CONNECTION, False),
    (Kind.LEAKY_HOOK, "get_session"): (Kind.SESSION, False),
}
# They give back what they were called on.
_SAME: Final = frozenset({"execution_options", "__enter__", "__aenter__"})


@dataclass
class Scope:
    """The names of one function, class or module, on top of those around it."""

    imports: dict[str, str]
    parent: Scope | None = None
    nodes: list[ast.AST] = field(default_factory=list)
    kinds: dict[str, Kind | None] = field(default_factory=dict)
    openings: dict[ast.Call | ast.Subscript, OpeningCall] = field(default_factory=dict)
    generators: dict[str, OpeningCall] = field(default_factory=dict)
    makers: dict[str, OpeningCall] = field(default_factory=dict)
    # Of the module, told by its functions: what calls of them open, which arguments they take over,
    # and the registries of sessions that one of them cleans up.
    handed: dict[str, OpeningCall] = field(default_factory=dict)
    taken: dict[str, frozenset[str | int]] = field(default_factory=dict)
    cleaned: set[str] = field(default_factory=set)

    def _chain(self) -> Iterator[Scope]:
        """Give this scope and those around it, the module's last."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def own_function(self, path: str) -> str | None:
        """Return the path if it names a function or method of the module here, and no variable."""
        is_variable = any(path in scope.kinds for scope in self._chain() if scope.parent is not None)
        return None if is_variable else path

    @property
    def root(self) -> Scope:
        """Return the module's own scope."""
        return self if self.parent is None else self.parent.root

    def taken_by(self, path: str) -> frozenset[str | int]:
        """Tell which arguments a function of the module closes or keeps."""
        name = self.own_function(path)
        return self.root.taken.get(name, frozenset()) if name else frozenset()

    def _home_of(self, path: str) -> Scope | None:
        """Return the scope that assigns a path."""
        return next((scope for scope in self._chain() if path in scope.kinds), None)

    def kind_of(self, path: str) -> Kind | None:
        """Tell what a path stands for; an assigned name goes before what it is called."""
        if home := self._home_of(path):
            return home.kinds[path]
        return None if path.endswith("()") else _kind_by_name(last_name(path))

    def learn(self) -> None:
        """Note what the scope's own assignments make of its names, and every opening in it."""
        for node in self.nodes:
            if isinstance(node, (ast.Call, ast.Subscript)):
                opening = self.opening_of(node)
                if opening is not None:
                    self.openings[node] = opening
            for target, value in assigned_by(node):
                self._bind(target, value)
            if isinstance(node, ast.withitem) and node.optional_vars is not None:
                self._bind(node.optional_vars, node.context_expr)

    def learn_attributes(self, method: ast.AST) -> None:
        """Note what a method makes of the attributes of its class."""
        for node in own_nodes(method):
            for target, value in assigned_by(node):
                if isinstance(target, ast.Attribute):
                    self._bind(target, value)

    def learn_parameters(self, arguments: ast.arguments) -> None:
        """Note what the annotations of a function say of its parameters."""
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            if argument.arg == "self":
                continue
            text = ast.unparse(argument.annotation) if argument.annotation else ""
            found = [kind for name, kind in _ANNOTATIONS.items() if re.search(rf"\b{name}\b", text)]
            self.kinds[argument.arg] = found[-1] if found else _kind_by_name(argument.arg)

    def opening_of(self, node: ast.expr) -> OpeningCall | None:
        """Tell what an expression opens, if it opens anything."""
        if isinstance(node, ast.Await):
            return self.opening_of(node.value)
        if isinstance(node, ast.Subscript):
            return self._generated_by(node.value)
        if not isinstance(node, ast.Call):
            return None
        path = path_of(node.func, self.imports)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SAME:
            opening = self.opening_of(node.func.value)
            is_entered = node.func.attr != "execution_options"
            return replace(opening, only_with=False) if opening and is_entered else opening
        return (
            self._by_own_function(node, path)
            or self._by_step(node, path)
            or self._by_full_name(node, path)
            or self._by_receiver(node, path)
            or self._by_name(node, path)
        )

    def _by_own_function(self, node: ast.Call, path: str) -> OpeningCall | None:
        name = self.own_function(path)
        return (self.root.handed.get(name) if name else None) or self._made_by(node.func)

    def _made_by(self, node: ast.expr) -> OpeningCall | None:
        """Tell what a call of a lambda or a partial opens, or of a name for one."""
        if isinstance(node, ast.Lambda):
            made = self.opening_of(node.body)
        elif isinstance(node, ast.Call) and last_name(path_of(node.func, self.imports)) == "partial":
            made = (
                self.opening_of(ast.Call(node.args[0], node.args[1:], node.keywords)) if node.args else None
            )
        else:
            path = path_of(node, {}) if isinstance(node, (ast.Name, ast.Attribute)) else ""
            home = self._home_of(path) if path else None
            return home.makers.get(path) if home else None
        return replace(made, is_own=True) if made is not None and made.kind in HELD else None

    def _by_step(self, node: ast.Call, path: str) -> OpeningCall | None:
        """Tell what a step of a generator opens: ``next(get_db())``."""
        source: ast.expr
        if path in {"next", "anext"} and node.args:
            source = node.args[0]
        elif isinstance(node.func, ast.Attribute) and node.func.attr in _STEPS:
            source = node.func.value
        else:
            return None
        return self._generated_by(source)

    def _generated_by(self, source: ast.expr) -> OpeningCall | None:
        generator = self.generator_of(source)
        return replace(generator.given, is_generated=True) if generator and generator.given else None

    def generator_of(self, node: ast.expr) -> OpeningCall | None:
        """Tell the generator of sessions that an expression is, or is a list of."""
        match node:
            case ast.Call(func=function, args=[inner, *_]) if path_of(function, self.imports) in _ITERATED:
                return self.generator_of(inner)
            case (
                ast.Call(func=ast.Attribute(value=inner, attr="__iter__" | "__aiter__"))
                | ast.List(elts=[ast.Starred(value=inner)])
                | ast.Tuple(elts=[ast.Starred(value=inner)])
            ):
                return self.generator_of(inner)
            case ast.Call():
                opening = self.opening_of(node)
                return opening if opening and opening.kind is Kind.GENERATOR else None
            case ast.ListComp(
                elt=ast.Name(id=given), generators=[ast.comprehension(target=ast.Name(id=name))]
            ):
                return self.generator_of(node.generators[0].iter) if given == name else None
            case ast.Name() | ast.Attribute():
                path = path_of(node, {})
                home = self._home_of(path)
                return home.generators.get(path) if home else None
        return None

    def _by_full_name(self, node: ast.Call, path: str) -> OpeningCall | None:
        module, _, name = path.rpartition(".")
        if module.split(".", 1)[0] in {"sqlalchemy", "sqlmodel"} and name in _SQLALCHEMY:
            kind = _SQLALCHEMY[name]
            needs_closing = not _holds_nothing(node, path)
            if kind in {Kind.FACTORY, Kind.REGISTRY, Kind.SESSION}:
                needs_closing = kind is Kind.SESSION and not self._is_on_connection(node)
            return OpeningCall(kind, path, needs_closing=needs_closing)
        if module in _DRIVERS and name == "connect":
            return OpeningCall(
                Kind.CONNECTION,
                path,
                with_closes=module not in _WITH_LEAVES_OPEN,
                needs_closing=not _holds_nothing(node, path),
                is_autocommit=_says_autocommit(node),
            )
        if path in _POOL_MAKERS or (path.startswith(_POOL_MODULES) and name.endswith("Pool")):
            return OpeningCall(Kind.POOL, path)
        if path in {"contextlib.ExitStack", "contextlib.AsyncExitStack"}:
            return OpeningCall(Kind.STACK, path, needs_closing=False)
        if path.endswith("airflow.utils.session.create_session"):
            return OpeningCall(Kind.SESSION, path, only_with=True)
        return OpeningCall(Kind.SESSION, path) if path == "airflow.settings.Session" else None

    def _is_on_connection(self, node: ast.Call) -> bool:
        """Tell a session on somebody's connection: it holds none of its own, and ends with that one."""
        binds = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "bind")]
        return any(self._kind_of_value(bind) is Kind.CONNECTION for bind in binds)

    def _by_receiver(self, node: ast.Call, path: str) -> OpeningCall | None:
        if not isinstance(node.func, ast.Attribute):
            return None
        receiver, method = path_of(node.func.value, self.imports), node.func.attr
        if method == "pop_all" and self.kind_of(receiver) is Kind.STACK:
            return OpeningCall(Kind.STACK, path, needs_closing=False)
        if method == "get_sqlalchemy_engine":
            return OpeningCall(Kind.ENGINE, path, needs_closing=not _holds_nothing(node, path))
        kind = self._kind_of_receiver(node.func.value, receiver)
        if kind is None or (kind, method) not in _METHODS:
            return None
        given, only_with = _METHODS[kind, method]
        # The cursor of a temporary connection is that temporary's matter.
        is_owned = given is Kind.CURSOR and isinstance(node.func.value, ast.Call)
        with_closes = method != "get_conn" or kind is Kind.HOOK
        return OpeningCall(
            given, path, with_closes=with_closes, only_with=only_with, needs_closing=not is_owned
        )

    def _kind_of_receiver(self, node: ast.expr, path: str) -> Kind | None:
        opening = self.opening_of(node)
        if opening is not None:
            return opening.kind
        return hook_kind(path.removesuffix("()")) or (self.kind_of(path) if path else None)

    def _by_name(self, node: ast.Call, path: str) -> OpeningCall | None:
        name = last_name(path)
        made = self.opening_of(node.func)
        if {self.kind_of(path), made.kind if made else None} & {Kind.FACTORY, Kind.REGISTRY}:
            return OpeningCall(Kind.SESSION, path, needs_closing=not self._is_on_connection(node))
        if _GENERATOR_NAME.match(name) and not path.endswith("()") and not self._is_known(path):
            given = OpeningCall(Kind.SESSION, path, is_own=True)
            return OpeningCall(Kind.GENERATOR, path, needs_closing=False, is_own=True, given=given)
        if _UNIT_NAME.search(name) and not path.endswith("()"):
            return OpeningCall(Kind.UNIT, path, only_with=True)
        return None

    def _is_known(self, path: str) -> bool:
        """Tell what this module defines itself."""
        return path.startswith("self.") or self._home_of(path) is not None

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for part, part_value in zip(target.elts, value.elts, strict=False):
                self._bind(part, part_value)
            return
        path = path_of(target, {})
        if not path or path.endswith("[]"):
            return
        kind = self._kind_of_value(value)
        if generator := self.generator_of(value):
            self.generators[path] = generator
        if made := self._made_by(value):
            self.makers[path] = made
        if kind is not None or self.kinds.get(path) is None:
            self.kinds[path] = kind

    def _kind_of_value(self, value: ast.expr) -> Kind | None:
        if isinstance(value, ast.Await):
            value = value.value
        opening = self.opening_of(value)
        if opening is not None:
            return opening.kind
        path = path_of(value, self.imports)
        called = path.removesuffix("()")
        if path.endswith("()") and hook_kind(called):
            return hook_kind(called)
        if path.endswith("()") and (_CLIENT.search(called) or _EXCHANGE.search(called)):
            return Kind.CLIENT if _CLIENT.search(called) else Kind.EXCHANGE
        if path.endswith(".get_bind()"):
            return Kind.CONNECTION
        if path.endswith("()") and isinstance(value, ast.Call):
            # A factory of the project's own, such as make_engine() or get_db_connection().
            kind = _kind_by_name(last_name(path))
            return kind if kind in {Kind.ENGINE, Kind.FACTORY} else self._kind_of_wrapped(value)
        return self.kind_of(path) if path and isinstance(value, (ast.Name, ast.Attribute)) else None

    def _kind_of_wrapped(self, value: ast.Call) -> Kind | None:
        is_closing = last_name(path_of(value.func, self.imports)) in {"closing", "aclosing", *ENTERERS}
        return self._kind_of_value(value.args[0]) if is_closing and value.args else None


def _kind_by_name(name: str) -> Kind | None:
    for pattern, kind in (
        (_FACTORY_NAME, Kind.FACTORY),
        (_ENGINE_NAME, Kind.ENGINE),
        (_POOL_NAME, Kind.POOL),
        (_CONNECTION_NAME, Kind.CONNECTION),
        (_HOOK_NAME, Kind.HOOK),
    ):
        if pattern.search(name):
            return kind
    return None


def hook_kind(path: str) -> Kind | None:
    """Tell whether a class is an Airflow hook of an SQL database, by its name."""
    if _LEAKY_HOOK.search(path):
        return Kind.LEAKY_HOOK
    return Kind.HOOK if _SQL_HOOK.search(path) else None


def _holds_nothing(node: ast.Call, path: str) -> bool:
    """Tell an engine without a pool, and a database in memory."""
    if path == "duckdb.connect" and not (node.args or node.keywords):
        return True
    in_memory = any(
        isinstance(argument, ast.Constant)
        and argument.value in {":memory:", "sqlite://", "sqlite:///:memory:", "sqlite+aiosqlite://"}
        for argument in (*node.args, *(keyword.value for keyword in node.keywords))
    )
    return in_memory or any("NullPool" in ast.unparse(keyword.value) for keyword in node.keywords)


def _says_autocommit(node: ast.Call) -> bool:
    return any(
        keyword.arg == "autocommit" and ast.unparse(keyword.value) == "True" for keyword in node.keywords
    )
