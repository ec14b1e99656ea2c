"""Connections of drivers, as in their documentation."""

import atexit
import logging
import sqlite3
import threading
import time
import weakref
from contextlib import ExitStack, closing

import duckdb
import psycopg
import psycopg2
from django.db import connection as django_connection
from psycopg2.pool import ThreadedConnectionPool
from psycopg_pool import ConnectionPool

log = logging.getLogger(__name__)
POOL = ConnectionPool("dbname=trading")


def psycopg_with(query):
    with psycopg.connect("dbname=trading") as connection, connection.cursor() as cursor:
        return cursor.execute(query).fetchall()


def psycopg2_closing(query):
    with closing(psycopg2.connect("dbname=trading")) as connection, connection, connection.cursor() as cursor:
        cursor.execute(query)


def psycopg2_finally(query):
    connection = psycopg2.connect("dbname=trading")
    cursor = connection.cursor()
    try:
        with connection:
            cursor.execute(query)
    finally:
        cursor.close()
        connection.close()


def sqlite_closing(path):
    with closing(sqlite3.connect(path)) as connection:
        with connection:
            connection.execute("delete from staging")


def sqlite_in_memory():
    connection = sqlite3.connect(":memory:")
    return connection.execute("select 1").fetchone()


def duckdb_in_memory(query):
    connection = duckdb.connect()
    return connection.execute(query).fetchall()


def from_pool(query):
    with POOL.connection() as connection:
        return connection.execute(query).fetchall()


def place_in_pool(pool: ThreadedConnectionPool, query):
    connection = pool.getconn()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(query)
    finally:
        pool.putconn(connection)


def pool_for_a_run(query):
    with ConnectionPool("dbname=trading") as pool, pool.connection() as connection:
        connection.execute(query)


def django_cursor(query):
    with django_connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


def with_stack(names):
    with ExitStack() as stack:
        connections = [stack.enter_context(psycopg.connect(name)) for name in names]
        first = psycopg.connect("dbname=trading")
        stack.callback(first.close)
        for connection in connections:
            connection.execute("select 1")


def configured():
    connection = psycopg.connect("dbname=trading")
    try:
        connection.execute("set role reader")
    except BaseException:
        connection.close()
        raise
    return connection


def logged(query):
    connection = psycopg.connect("dbname=trading")
    log.info("connected to %s", connection)
    try:
        connection.execute(query)
    finally:
        connection.close()


def at_exit():
    connection = psycopg.connect("dbname=trading")
    atexit.register(connection.close)
    connection.execute("select 1")


def closed_by_a_function(query):
    connection = psycopg.connect("dbname=trading")
    try:
        connection.execute(query)
    finally:
        close_quietly(connection)


def close_quietly(connection):
    try:
        connection.close()
    except psycopg.Error:
        log.warning("could not close")


def watched(stop: threading.Event):
    with psycopg.connect("dbname=trading", autocommit=True) as connection:
        while not stop.is_set():
            log.info("%s", connection.execute("select 1").fetchone())
            time.sleep(1)


class Listener:
    def __init__(self):
        self._connection = psycopg.connect("dbname=trading")
        self._finalizer = weakref.finalize(self, self._connection.close)


class Pooled:
    def __init__(self):
        self._free = []
        self._lock = threading.Lock()

    def open(self):
        connection = psycopg.connect("dbname=trading")
        self._free.append(connection)
        return connection

    def close(self):
        while self._free:
            self._free.pop().close()


def allowed():
    connection = psycopg.connect("dbname=trading")  # session: allowed - the process is about to end
    connection.execute("select 1")


def allowed_above():
    # session: allowed - the process is about to end
    connection = psycopg.connect(
        "dbname=trading",
        autocommit=True,
    )
    connection.execute("select 1")


def passed_on(server):
    connection = psycopg.connect("dbname=trading")
    server.register(connection)


def in_a_thread(query):
    connection = psycopg.connect("dbname=trading")

    def work():
        try:
            connection.execute(query)
        finally:
            connection.close()

    threading.Thread(target=work).start()


def in_a_match(kind):
    connection = psycopg.connect("dbname=trading")
    try:
        match kind:
            case "count":
                return connection.execute("select count(*) from fills").fetchone()
            case _:
                return None
    finally:
        connection.close()
