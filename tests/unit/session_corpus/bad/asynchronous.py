"""The asynchronous variants."""

import asyncio

import aiohttp
import asyncpg
import httpx
import psycopg
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

engine = create_async_engine("postgresql+asyncpg://db")
async_session = async_sessionmaker(engine, expire_on_commit=False)


async def forgotten(order):
    session = async_session()  # expect: KRS003
    session.add(order)
    await session.commit()


async def not_on_every_path(order):
    session = AsyncSession(engine)  # expect: KRS004
    session.add(order)
    await session.commit()
    await session.close()


async def engine_per_call(query):
    own = create_async_engine("postgresql+asyncpg://db")  # expect: KRS002
    async with own.connect() as connection:
        await connection.execute(query)


async def psycopg_connection(query):
    connection = await psycopg.AsyncConnection.connect("dbname=trading")  # expect: KRS003
    await connection.execute(query)


async def asyncpg_connection(query):
    connection = await asyncpg.connect("postgresql://db")  # expect: KRS004
    rows = await connection.fetch(query)
    await connection.close()
    return rows


async def from_pool(pool, query):
    connection = await pool.acquire()  # expect: KRS004
    rows = await connection.fetch(query)
    await pool.release(connection)
    return rows


async def waits(order):
    async with async_session() as session:
        await session.merge(order)
        await asyncio.sleep(5)  # expect: KRS009


async def asks(order):
    async with async_session() as session, httpx.AsyncClient() as client:
        await session.merge(order)
        await client.get(order.url)  # expect: KRS009


async def asks_aiohttp(order):
    async with engine.begin() as connection:
        await connection.execute(order)
        async with aiohttp.ClientSession() as client:
            reply = await client.get(order.url)  # expect: KRS009
    return reply
