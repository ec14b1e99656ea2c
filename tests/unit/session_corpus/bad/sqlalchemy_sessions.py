"""Sessions in the ways of SQLAlchemy's own tutorials, gone wrong."""

import sqlalchemy as sa
from sqlalchemy import create_engine, orm
from sqlalchemy.orm import Session, scoped_session, sessionmaker

engine = create_engine("postgresql+psycopg://db")
SessionLocal = sessionmaker(bind=engine)
Registry = scoped_session(sessionmaker(engine))
session = SessionLocal()  # expect: KRS007


def forgotten(order):
    session = SessionLocal()  # expect: KRS003
    session.add(order)
    session.commit()


def outside_finally(order):
    session = Session(engine)  # expect: KRS004
    session.add(order)
    session.commit()
    session.close()


def early_return(key):
    session = orm.Session(bind=engine)  # expect: KRS004
    try:
        order = session.get(object, key)
    except Exception:
        return None
    session.close()
    return order


def early_raise(key):
    connection = engine.connect()  # expect: KRS004
    row = connection.execute(key).one_or_none()
    if row is None:
        raise LookupError(key)
    connection.close()
    return row


def only_in_the_handler(order):
    session = SessionLocal()  # expect: KRS004
    try:
        session.add(order)
        session.commit()
    except Exception:
        session.rollback()
        session.close()
        raise


def too_narrow_a_handler(order):
    session = SessionLocal()  # expect: KRS004
    try:
        session.merge(order)
    except ValueError:
        session.close()
        raise
    session.close()


def temporary(query):
    return Session(engine).execute(query).all()  # expect: KRS005


def temporary_of_factory(query):
    return sessionmaker(engine)().scalars(query).all()  # expect: KRS005


def temporary_connection(query):
    for row in engine.connect().execute(query):  # expect: KRS005
        print(row)


def engine_per_call(query):
    own = sa.create_engine("postgresql://db")  # expect: KRS002
    with own.begin() as connection:
        connection.execute(query)


def engine_as_temporary(query):
    with create_engine("postgresql://db").connect() as connection:  # expect: KRS002
        return connection.execute(query).all()


def scoped(query):
    current = Registry()  # expect: KRS003
    return current.execute(query).all()


def raw(query):
    fairy = engine.raw_connection()  # expect: KRS003
    cursor = fairy.cursor()
    cursor.execute(query)


def per_account(accounts):
    for account in accounts:
        session = SessionLocal()  # expect: KRS004
        session.add(account)
    session.close()


def nested(order):
    with SessionLocal() as session:
        session.add(order)
        with SessionLocal() as audit:  # expect: KRS010
            audit.add(order)


def default(query, session=SessionLocal()):  # expect: KRS007
    return session.execute(query)


def in_a_global():
    global session
    session = SessionLocal()  # expect: KRS007


class Repository:
    session = SessionLocal()  # expect: KRS007

    def find(self, key):
        return self.session.get(object, key)


class Keeper:
    def __init__(self):
        self.session = Session(engine)  # expect: KRS007

    def find(self, key):
        return self.session.get(object, key)


def swallowed_by_else(flag, query):
    connection = engine.connect()  # expect: KRS004
    if flag:
        connection.close()
    else:
        connection.execute(query)
