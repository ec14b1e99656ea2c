"""Sessions that are handed on: by stacks, generators, registries, functions of the module and containers."""

import atexit
import contextlib
import functools
from contextlib import AsyncExitStack, ExitStack, aclosing, asynccontextmanager, closing, contextmanager

import psycopg
import psycopg2
from airflow.providers.postgres.hooks.postgres import PostgresHook
from fastapi import Depends, FastAPI
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from .database import get_db as dependency

app = FastAPI()
flask = Flask(__name__)
db = SQLAlchemy(flask)
engine = create_engine("postgresql+psycopg://db")
SessionLocal = sessionmaker(engine)
AsyncLocal = async_sessionmaker()
Registry = scoped_session(SessionLocal)
Removed = scoped_session(SessionLocal)
Tasks = async_scoped_session(AsyncLocal, scopefunc=object)
OPEN = []


def stacked(query):
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())
        return session.execute(query).scalar()


def stacked_twice(query):
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(SessionLocal())
        target: Session = stack.enter_context(Session(engine))
        target.add_all(source.scalars(query))
        target.commit()


def stacked_pair(query):
    with ExitStack() as stack:
        one, two = stack.enter_context(SessionLocal()), stack.enter_context(engine.connect())
        return one.execute(query), two.execute(query)


def stacked_in_a_loop(dsns, query):
    with ExitStack() as stack:
        for dsn in dsns:
            connection = stack.enter_context(psycopg.connect(dsn))
            connection.execute(query)


def stacked_for_later(names):
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(SessionLocal()) for name in names}
        for session in sessions.values():
            session.commit()


def stacked_by_walrus(query):
    with ExitStack() as stack:
        if (session := stack.enter_context(SessionLocal())).is_active:
            return session.execute(query).scalar()
    return None


def stacked_in_a_transaction(order):
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal.begin())
        connection = stack.enter_context(engine.begin())
        session.add(order)
        connection.execute(order)


def stacked_and_closed(query):
    with ExitStack() as stack:
        connection = stack.enter_context(closing(psycopg2.connect("")))
        return connection.cursor().execute(query)


def stacked_after_opening(query):
    with ExitStack() as stack:
        session = SessionLocal()
        stack.enter_context(session)
        return session.execute(query).scalar()


def called_back(query):
    with ExitStack() as stack:
        session = SessionLocal()
        stack.callback(session.close)
        return session.execute(query).scalar()


def pushed(query):
    with ExitStack() as stack:
        session = SessionLocal()
        stack.push(session)
        return session.execute(query).scalar()


def stack_closed_by_hand(query):
    stack = ExitStack()
    try:
        session = stack.enter_context(SessionLocal())
        return session.execute(query).scalar()
    finally:
        stack.close()


def stack_entered_later(query):
    stack = ExitStack()
    with stack:
        session = stack.enter_context(SessionLocal())
        return session.execute(query).scalar()


def stack_handed_out():
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())
        return session, stack.pop_all()


class Reader:
    def __enter__(self):
        self._stack = ExitStack()
        self._session = self._stack.enter_context(SessionLocal())
        return self

    def __exit__(self, *_):
        self._stack.close()


async def stacked_async(query):
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(AsyncLocal())
        connection = await stack.enter_async_context(await psycopg.AsyncConnection.connect(""))
        await connection.execute(query)
        return await session.execute(query)


async def pushed_async(query):
    async with AsyncExitStack() as stack:
        session = AsyncLocal()
        stack.push_async_callback(session.close)
        return await session.execute(query)


def get_db():
    session = SessionLocal()
    try:
        yield session
    finally:
        session.close()


def get_entered_db():
    with SessionLocal() as session:
        yield session


def get_db_again():
    yield from get_db()


async def get_async_db():
    async with AsyncLocal() as session:
        yield session


@app.get("/orders")
def orders(session: Session = Depends(get_db)):
    return session.query(object).all()


scope = contextmanager(get_db)


def through_a_context_manager(query):
    with scope() as session:
        return session.execute(query).scalar()


def through_a_context_manager_at_once(query):
    with contextmanager(get_entered_db)() as session:
        return session.execute(query).scalar()


async def through_an_async_context_manager(query):
    async with asynccontextmanager(get_async_db)() as session:
        return await session.execute(query)


def generator_closed(query):
    with closing(get_db()) as generator:
        session = next(generator)
        return session.execute(query).scalar()


def generator_closed_by_hand(query):
    generator = get_db()
    session = next(generator)
    try:
        return session.execute(query).scalar()
    finally:
        generator.close()


def generator_ended(query):
    generator = get_db()
    try:
        session = next(generator)
        session.execute(query)
    finally:
        next(generator, None)


def generator_told_of_a_failure(query):
    generator = get_db()
    session = next(generator)
    try:
        session.execute(query)
    except ValueError as error:
        generator.throw(error)
    finally:
        generator.close()


class Holder:
    def __init__(self):
        self._generator = get_db()
        self.session = next(self._generator)

    def close(self):
        self._generator.close()


def generator_closed_by_a_stack(query):
    with ExitStack() as stack:
        generator = get_db()
        stack.callback(generator.close)
        session = next(generator)
        return session.execute(query).scalar()


def generator_in_a_stack(query):
    with ExitStack() as stack:
        generator = stack.enter_context(closing(get_db()))
        session = next(generator)
        return session.execute(query).scalar()


async def async_generator_closed(query):
    async with aclosing(get_async_db()) as generator:
        session = await anext(generator)
        return await session.execute(query)


async def async_generator_closed_by_hand(query):
    generator = get_async_db()
    session = await generator.__anext__()
    try:
        return await session.execute(query)
    finally:
        await generator.aclose()


async def async_generator_closed_and_left_early(query):
    async with aclosing(get_async_db()) as generator:
        async for session in generator:
            return await session.execute(query)


def taken_and_closed(query):
    session = next(get_db())
    try:
        return session.execute(query).scalar()
    finally:
        session.close()


def imported_dependency_closed(query):
    with closing(dependency()) as generator:
        return next(generator).execute(query).scalar()


def driven_to_its_end(order):
    for session in get_db():
        session.add(order)
        session.commit()


async def driven_to_its_end_async(order):
    async for session in get_async_db():
        session.add(order)


def next_row(session):
    return next(iter(session.scalars("select 1")))


def next_of_rows(rows):
    return next(row for row in rows if row.session)


@contextmanager
def session_scope():
    session = SessionLocal()
    try:
        yield session
        session.commit()
    finally:
        session.close()


def through_own_scope(order):
    with session_scope() as session:
        session.add(order)


def through_own_scope_on_a_stack(order):
    with ExitStack() as stack:
        session = stack.enter_context(session_scope())
        session.add(order)


def make_session():
    session = SessionLocal()
    session.info["by"] = "make_session"
    return session


def connected(dsn):
    return psycopg.connect(dsn)


def of_own_function(query):
    with make_session() as session:
        return session.execute(query).scalar()


def of_own_function_closed(query):
    connection = connected("")
    try:
        return connection.execute(query).fetchone()
    finally:
        connection.close()


def of_own_function_handed_on():
    return make_session()


_kept = None


def the_connection():
    global _kept
    if _kept is None:
        _kept = object()
    return _kept


def uses_the_connection(query):
    connection = the_connection()
    return connection.execute(query)


def finish(session):
    session.commit()
    session.close()


def closed_by_own_function(order):
    session = SessionLocal()
    try:
        session.add(order)
    finally:
        finish(session)


def closed_by_own_function_by_name(order):
    session = SessionLocal()
    try:
        session.add(order)
    finally:
        end(unit=session)


def end(unit):
    with unit:
        unit.commit()


@contextmanager
def cleaned(session):
    try:
        yield
    except ValueError:
        session.rollback()
        raise
    finally:
        session.close()


class Backend:
    def _session(self):
        return SessionLocal()

    def store(self, order):
        session = self._session()
        with cleaned(session):
            session.add(order)
            session.commit()


class Shards:
    def __init__(self, dsns):
        self.connections = []
        for dsn in dsns:
            self.connections.append(psycopg.connect(dsn))

    def close(self):
        for connection in self.connections:
            connection.close()


def remember(dsn):
    OPEN.append(psycopg.connect(dsn))


@atexit.register
def close_all():
    for connection in OPEN:
        connection.close()


def in_a_list(dsns, query):
    connections = []
    try:
        for dsn in dsns:
            connections.append(psycopg.connect(dsn))
        return [connection.execute(query) for connection in connections]
    finally:
        for connection in connections:
            connection.close()


def in_a_list_for_others(dsns):
    connections = []
    for dsn in dsns:
        connections.append(psycopg.connect(dsn))
    return connections


def in_a_dictionary_for_others(names):
    sessions = {}
    for name in names:
        sessions[name] = SessionLocal()
    return sessions


def through_the_registry(query):
    try:
        return Registry.execute(query).scalar()
    finally:
        Registry.remove()


def begun_in_the_registry(order):
    try:
        with Registry.begin():
            Registry.add(order)
    finally:
        Registry.remove()


async def through_the_async_registry(query):
    try:
        session = Tasks()
        return await session.execute(query)
    finally:
        await Tasks.remove()


@flask.teardown_appcontext
def shut_down(_):
    Removed.remove()


@flask.get("/users")
def users():
    return Removed.query(object).all()


@flask.get("/orders")
def flask_orders():
    db.session.add(object())
    db.session.commit()
    return db.session.execute("select 1").all()


def of_a_hook(query):
    hook = PostgresHook(postgres_conn_id="trading_db")
    with closing(hook.get_conn()) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def transformed(query):
    raw = engine.raw_connection()
    try:
        with closing(raw.cursor()) as cursor:
            cursor.execute(query)
    finally:
        raw.close()


async def given(session: AsyncSession = Depends(get_async_db)):
    return await session.execute("select 1")


def named_in_a_condition(query):
    if (session := SessionLocal()) is not None:
        with session:
            return session.execute(query).scalar()
    return None


def named_in_a_condition_and_closed(query):
    if session := SessionLocal():
        try:
            return session.execute(query).scalar()
        finally:
            session.close()
    return None


opener = lambda: SessionLocal()
partly = functools.partial(Session, engine)


def of_a_lambda(query):
    with opener() as session, partly() as other, functools.partial(SessionLocal)() as third:
        session.execute(query)
        return other.execute(query).all(), third.execute(query).all()


def of_a_partial_closed_by_hand(query):
    session = partly()
    try:
        return session.execute(query).all()
    finally:
        session.close()


def handed_to_others(schedule):
    schedule(lambda: SessionLocal())
    schedule(functools.partial(SessionLocal))
    app.dependency_overrides[get_db] = lambda: SessionLocal()
    return opener, partly


def unpacked_rows(query):
    with SessionLocal() as session:
        [row] = session.execute(query)
        (other,) = list(session.execute(query))
        return row, other, list(session.execute(query))[0], [*session.execute(query)][0]


def unpacked_and_closed():
    [session] = get_db()
    session.close()


def read_in_a_loop(query):
    for session in get_db():
        for row in session.execute(query):
            if row:
                break


def kept_on_success():
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())
        session.execute("select 1")
        stack.pop_all()
        return session


def moved_and_closed(query):
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())
        kept = stack.pop_all()
    try:
        session.execute(query)
    finally:
        kept.close()


def moved_and_entered(query):
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())
        with stack.pop_all():
            session.execute(query)


def moved_to_the_caller():
    with ExitStack() as stack:
        stack.enter_context(SessionLocal())
        return stack.pop_all()


def files_only(path):
    with ExitStack() as stack:
        stack.enter_context(open(path))
        stack.pop_all()


class OfAStack:
    def __enter__(self):
        with ExitStack() as stack:
            self.session = stack.enter_context(opener())
            self._stack = stack.pop_all()
        return self.session

    def __exit__(self, *error):
        self._stack.__exit__(*error)


class OfAMovedExit:
    def __enter__(self):
        with ExitStack() as stack:
            self.session = stack.enter_context(SessionLocal())
            self._exit = stack.pop_all().__exit__
        return self

    def __exit__(self, *error):
        return self._exit(*error)
