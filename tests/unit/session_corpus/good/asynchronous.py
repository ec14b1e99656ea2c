"""The asynchronous variants."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import asyncpg
import httpx
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

engine = create_async_engine("postgresql+asyncpg://db")
async_session = async_sessionmaker(engine)


async def with_session(order):
    async with async_session() as session, session.begin():
        session.add(order)


async def in_finally(order):
    session = AsyncSession(engine)
    try:
        session.add(order)
        await session.commit()
    finally:
        await session.close()


async def shielded(order):
    session = async_session()
    try:
        session.add(order)
    finally:
        await asyncio.shield(session.close())


async def with_psycopg(query):
    async with await psycopg.AsyncConnection.connect("dbname=trading") as connection:
        await connection.execute(query)
        await asyncio.sleep(0)


async def with_asyncpg(query):
    connection = await asyncpg.connect("postgresql://db")
    try:
        return await connection.fetch(query)
    finally:
        await connection.close()


async def from_pool(pool, query):
    async with pool.acquire() as connection, connection.transaction():
        return await connection.fetch(query)


async def place_in_pool(pool, query):
    connection = await pool.acquire()
    try:
        return await connection.fetch(query)
    finally:
        await pool.release(connection)


async def pool_for_a_run(query):
    async with asyncpg.create_pool("postgresql://db") as pool:
        return await pool.fetch(query)


async def asked_first(url):
    async with httpx.AsyncClient() as client:
        reply = await client.get(url)
    async with async_session() as session:
        session.add(reply)


async def dependency():
    async with async_session() as session:
        yield session


@asynccontextmanager
async def lifespan(app):
    own = create_async_engine("postgresql+asyncpg://db")
    app.state.engine = own
    yield
    await own.dispose()


async def closing_session(query):
    async with aclosing(async_session()) as session:
        return await session.execute(query)
