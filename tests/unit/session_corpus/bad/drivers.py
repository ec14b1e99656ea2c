"""Connections of drivers, as in their documentation, with something left out."""

import functools
import sqlite3
import subprocess
import urllib.request

import psycopg
import psycopg2
import pyodbc
from psycopg2 import connect as pg_connect
from psycopg2.pool import ThreadedConnectionPool
from psycopg_pool import ConnectionPool

CACHE = {}


def psycopg2_with(query):
    with psycopg2.connect("dbname=trading") as connection:  # expect: KRS006
        with connection.cursor() as cursor:
            cursor.execute(query)


def psycopg2_named_with(query):
    connection = pg_connect("dbname=trading")  # expect: KRS006
    with connection:
        connection.cursor().execute(query)


def sqlite_with(path, query):
    with sqlite3.connect(path) as connection:  # expect: KRS006
        connection.execute(query)


def odbc_with(query):
    with pyodbc.connect("DSN=trading") as connection:  # expect: KRS006
        connection.execute(query)


def psycopg_forgotten(query):
    connection = psycopg.connect("dbname=trading")  # expect: KRS003
    return connection.execute(query).fetchall()


def psycopg_temporary(query):
    return psycopg.connect("dbname=trading").execute(query).fetchall()  # expect: KRS005


def dropped():
    psycopg.connect("dbname=trading")  # expect: KRS005


def closed_too_late(query):
    connection = psycopg.connect("dbname=trading")  # expect: KRS004
    connection.execute(query)
    try:
        connection.commit()
    finally:
        connection.close()


def borrowed_cursor(connection, query):
    cursor = connection.cursor()  # expect: KRS003
    cursor.execute(query)
    return cursor.fetchall()


def pool_place(pool: ConnectionPool, query):
    connection = pool.getconn()  # expect: KRS004
    connection.execute(query)
    pool.putconn(connection)


def pool_per_call(query):
    pool = ConnectionPool("dbname=trading")  # expect: KRS002
    with pool.connection() as connection:
        connection.execute(query)


class Gateway:
    def __init__(self):
        self.pool = ThreadedConnectionPool(1, 5, "dbname=trading")  # expect: KRS002


@functools.lru_cache(maxsize=1)
def cached_connection():
    return psycopg.connect("dbname=trading")  # expect: KRS007


def in_a_dictionary(name):
    CACHE[name] = psycopg.connect("dbname=trading")  # expect: KRS007


def across_a_process(path):
    with psycopg.connect("dbname=trading") as connection:
        connection.execute("select 1")
        subprocess.run(["pg_dump", path], check=True)  # expect: KRS009


def across_a_download(address):
    with psycopg.connect("dbname=trading") as connection, connection.cursor() as cursor:
        body = urllib.request.urlopen(address).read()  # expect: KRS009
        cursor.execute("insert into pages values (%s)", [body])


def without_reason():
    connection = psycopg.connect("dbname=trading")  # session: allowed # expect: KRS011
    connection.execute("select 1")
