"""Sessions that are handed on to nobody: generators left alone, forgotten stacks, registries, containers."""

import contextlib
import functools
from contextlib import ExitStack, contextmanager

import psycopg
import psycopg2
from airflow.sdk import task
from fastapi import Depends, FastAPI
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from .database import get_db as dependency
from .database import get_session

app = FastAPI()
engine = create_engine("postgresql+psycopg://db")
SessionLocal = sessionmaker(engine)
AsyncLocal = async_sessionmaker()
Registry = scoped_session(SessionLocal)
Tasks = async_scoped_session(AsyncLocal, scopefunc=object)
OPEN = []


def get_db():
    session = SessionLocal()
    try:
        yield session
    finally:
        session.close()


def get_db_again():
    yield from get_db()


async def get_async_db():
    async with AsyncLocal() as session:
        yield session


@contextmanager
def session_scope():
    with SessionLocal() as session:
        yield session


@task
def taken(query):
    session = next(get_db())  # expect: KRS008
    return session.execute(query).scalar()


def taken_annotated(query):
    session: Session = next(get_db(), None)  # expect: KRS008
    session.execute(query)


def taken_in_a_temporary(query):
    return next(get_db()).execute(query).scalar()  # expect: KRS005


def taken_by_its_method(query):
    session = get_db().__next__()  # expect: KRS008
    session.execute(query)


def taken_by_send(query):
    session = get_db_again().send(None)  # expect: KRS008
    session.execute(query)


def taken_by_an_iterator(query):
    session = next(iter(get_db()))  # expect: KRS008
    session.execute(query)


def taken_from_elsewhere(query):
    session = next(dependency())  # expect: KRS008
    other = next(get_session())  # expect: KRS008
    return session.execute(query), other.execute(query)


def taken_from_a_named_generator(query):
    generator = get_db()
    session = next(generator)  # expect: KRS008
    session.execute(query)


def taken_and_closed_too_late(query):
    session = next(get_db())  # expect: KRS004
    session.execute(query)
    session.close()


async def taken_async(query):
    session = await anext(get_async_db())  # expect: KRS008
    return await session.execute(query)


async def taken_async_by_its_method(query):
    session = await get_async_db().__anext__()  # expect: KRS008
    return await session.execute(query)


def left_by_return(query):
    for session in get_db():  # expect: KRS008
        return session.execute(query).scalar()


def left_by_break(query):
    for session in get_db():  # expect: KRS008
        session.execute(query)
        break


async def left_by_return_async(query):
    async for session in get_async_db():  # expect: KRS008
        return await session.execute(query)


async def imported_left_by_break(query):
    async for session in get_session():  # expect: KRS008
        await session.execute(query)
        break


def entered_by_hand(query):
    session = session_scope().__enter__()  # expect: KRS003
    session.execute(query)


def begun_by_hand(order):
    session = SessionLocal.begin().__enter__()  # expect: KRS003
    session.add(order)


def stack_forgotten(query):
    stack = ExitStack()
    session = stack.enter_context(SessionLocal())  # expect: KRS003
    session.execute(query)


def stack_closed_at_times(query):
    stack = contextlib.ExitStack()
    connection = stack.enter_context(psycopg.connect(""))  # expect: KRS004
    connection.execute(query)
    stack.close()


def stacked_but_left_open(query):
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg2.connect(""))  # expect: KRS006
        connection.cursor().execute(query)


def make_session():
    session = SessionLocal()
    session.info["by"] = "make_session"
    return session


def connected(dsn):
    return psycopg.connect(dsn)


def make_another():
    return make_session()


def of_own_function(query):
    session = make_another()  # expect: KRS003
    session.execute(query)


def of_own_function_at_once(query):
    return connected("").execute(query).fetchone()  # expect: KRS005


def make_factory():
    return sessionmaker(engine)


def of_own_factory(query):
    session = make_factory()()  # expect: KRS003
    session.execute(query)


class Reader:
    def _open(self):
        return Session(engine)

    def read(self, query):
        session = self._open()  # expect: KRS003
        return session.execute(query).all()


def look(session):
    return session.execute("select 1")


def looked_at(query):
    session = SessionLocal()  # expect: KRS003
    look(session)


def put_away(session):
    OPEN.append(session)


def given_away():
    session = SessionLocal()  # expect: KRS003
    put_away(session)


def remembered(dsn):
    OPEN.append(psycopg.connect(dsn))  # expect: KRS007


class Shards:
    def __init__(self, dsns):
        self.connections = []
        for dsn in dsns:
            self.connections.append(psycopg.connect(dsn))  # expect: KRS007


def in_a_list(dsns, query):
    connections = []
    for dsn in dsns:
        connections.append(psycopg.connect(dsn))  # expect: KRS003
    for connection in connections:
        connection.execute(query)


def in_a_dictionary(names):
    sessions = {}
    for name in names:
        sessions[name] = SessionLocal()  # expect: KRS003
    sessions["desk"].commit()


def through_the_registry(query):
    return Registry.execute(query).scalar()  # expect: KRS003


def removed_at_times(order):
    Registry.add(order)  # expect: KRS004
    Registry.flush()
    Registry.remove()


async def through_the_async_registry(query):
    session = Tasks()  # expect: KRS003
    return await session.execute(query)


def get_for_ever():
    session = SessionLocal()  # expect: KRS007
    return session


@app.get("/orders")
def orders(session: Session = Depends(get_for_ever)):
    return session.query(object).all()


@app.get("/fills")
def fills(session: Session = Depends(SessionLocal)):  # expect: KRS003
    return session.query(object).all()


def named_in_a_condition(query):
    if session := next(get_db()):  # expect: KRS008
        return session.execute(query).scalar()
    return None


def named_in_a_loops_condition(query):
    while (session := SessionLocal()) is not None:  # expect: KRS003
        session.execute(query)
        break


def taken_from_a_list(query):
    session = list(get_db())[0]  # expect: KRS008
    session.execute(query)


def taken_from_a_named_list(query):
    sessions = [*get_db()]
    session = sessions[0]  # expect: KRS008
    session.execute(query)


def taken_from_a_drained_generator(query):
    generator = get_db()
    session = tuple(generator)[-1]  # expect: KRS008
    session.execute(query)


def taken_from_a_list_at_once(query):
    return [given for given in get_db()][0].execute(query)  # expect: KRS005


def unpacked(query):
    [session] = get_db()  # expect: KRS008
    session.execute(query)


def unpacked_by_a_comma(query):
    (session,) = dependency()  # expect: KRS008
    first, *_ = list(get_db())  # expect: KRS008
    return session.execute(query), first.execute(query)


def handed_on_by_return(query):
    for session in get_db():  # expect: KRS008
        return session


def kept_after_break(query):
    found = None
    for session in get_db():  # expect: KRS008
        found = session
        break
    found.execute(query)


def left_in_a_dropped_stack(query):
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())  # expect: KRS003
        stack.pop_all()
        session.execute(query)


def left_in_a_dropped_stack_without_a_name():
    with ExitStack() as stack:
        stack.enter_context(psycopg.connect(""))  # expect: KRS003
        stack.pop_all()


def left_in_a_stack_that_nobody_closes(query):
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())  # expect: KRS003
        rest = stack.pop_all()
    session.execute(query)
    return rest is None


def left_in_a_dropped_stack_at_times(query, keeps):
    with ExitStack() as stack:
        session = stack.enter_context(SessionLocal())  # expect: KRS003
        if keeps:
            stack.pop_all()
        session.execute(query)


opener = lambda: SessionLocal()
connector = lambda: psycopg.connect("")
partly = functools.partial(Session, engine)


def of_a_lambda(query):
    session = opener()  # expect: KRS003
    session.execute(query)
    return connector().execute(query)  # expect: KRS005


def of_a_partial(query):
    session = partly()  # expect: KRS003
    other = functools.partial(SessionLocal)()  # expect: KRS003
    return session.execute(query), other.execute(query)


def of_a_local_lambda(query):
    local = lambda: SessionLocal()
    session = local()  # expect: KRS003
    session.execute(query)
