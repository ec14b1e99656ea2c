"""Generators that keep a session for as long as somebody does not go on."""

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

engine = create_engine("postgresql+psycopg://db")


def rows(query):
    with engine.connect() as connection:
        for row in connection.execute(query):
            yield row  # expect: KRS008


def delegated(query):
    with Session(engine) as session:
        yield from session.scalars(query)  # expect: KRS008


def in_steps(query):
    session = Session(engine)
    try:
        yield session.scalars(query).first()  # expect: KRS008
        yield session.scalars(query).all()
    finally:
        session.close()


def unguarded_dependency():
    session = Session(engine)  # expect: KRS004
    yield session
    session.close()


async def streamed(query):
    async with await psycopg.AsyncConnection.connect("dbname=trading") as connection:
        async for row in connection.stream(query):
            yield row  # expect: KRS008
