"""Sessions in the ways of SQLAlchemy's own tutorials."""

import functools
import time
from contextlib import closing, contextmanager

import requests
import sqlalchemy as sa
from alembic import op
from sqlalchemy import create_engine, orm
from sqlalchemy.orm import Session, scoped_session, sessionmaker

engine = create_engine("postgresql+psycopg://db")
SessionLocal = sessionmaker(engine)
Registry = scoped_session(SessionLocal)
http = requests.Session()


def simple(order):
    with Session(engine) as session, session.begin():
        session.add(order)


def begun(order):
    with SessionLocal.begin() as session:
        session.add(order)


def in_finally(order):
    session = SessionLocal()
    try:
        session.add(order)
        session.commit()
    except Exception:
        session.rollback()
        raise
    finally:
        session.close()


def maybe_opened(order, session=None):
    own = session is None
    if own:
        session = SessionLocal()
    try:
        session.add(order)
        session.flush()
    finally:
        if own:
            session.close()


def none_at_first(key):
    connection = None
    try:
        connection = engine.connect()
        return connection.execute(key).one()
    finally:
        if connection is not None:
            connection.close()


def walrus(query):
    with closing(session := Session(engine)):
        return session.execute(query).all()


def handed_out():
    return SessionLocal()


def handed_out_after_use(query):
    session = SessionLocal()
    try:
        session.execute(query)
    except BaseException:
        session.close()
        raise
    return session


def handed_out_in_an_object():
    return Repository(SessionLocal())


class Repository:
    def __init__(self, session: Session):
        self.session = session

    def find(self, key):
        return self.session.get(object, key)


class Owner:
    def __init__(self):
        self._engine = create_engine("postgresql://db")
        self._connection = self._engine.connect()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()


class Lazy:
    _connection = None

    def connection(self):
        if self._connection is None:
            self._connection = engine.connect()
        return self._connection

    def disconnect(self):
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextmanager
def session_scope():
    session = SessionLocal()
    try:
        yield session
        session.commit()
    except Exception:
        session.rollback()
        raise
    finally:
        session.close()


@contextmanager
def either(flag):
    with Session(engine) as session:
        if flag:
            yield session
        else:
            yield session.begin()


@functools.cache
def the_engine():
    return sa.create_engine("postgresql://db")


@functools.lru_cache
def the_factory():
    return sessionmaker(create_engine("postgresql://db"))


def scoped(query):
    session = Registry()
    try:
        return session.execute(query).all()
    finally:
        Registry.remove()


def retried(query):
    for attempt in range(3):
        try:
            with engine.connect() as connection:
                return connection.execute(query).all()
        except sa.exc.OperationalError:
            time.sleep(attempt)
    return None


def per_account(accounts):
    for account in accounts:
        session = SessionLocal()
        try:
            session.merge(account)
        finally:
            session.close()


def committed_first(order):
    with SessionLocal() as session:
        url = session.get(object, order).url
        session.commit()
        reply = requests.get(url, timeout=5)
        session.add(reply)


def asked_before_use(url):
    with SessionLocal() as session:
        reply = http.get(url)
        session.add(reply)


def upgrade():
    bind = op.get_bind()
    session = orm.Session(bind=bind)
    session.execute("update orders set status = 'open'")
    session.commit()


def in_memory():
    memory = create_engine("sqlite://")
    with memory.connect() as connection:
        return connection.exec_driver_sql("select 1").scalar()


def from_source_to_target(source, target, query):
    with Session(source) as reading, Session(target) as writing:
        writing.add_all(reading.scalars(query))


def stopped(query):
    connection = engine.connect()
    if not connection:
        return None
    try:
        return connection.execute(query).all()
    finally:
        connection.close()


def isolated(query):
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(query)
