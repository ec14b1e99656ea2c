"""DAG files that give back what they take."""

import time
from contextlib import ExitStack, closing

import pandas as pd
import requests
from airflow.hooks.base import BaseHook
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.sdk import dag, task
from airflow.utils.session import create_session, provide_session
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool


@task
def count_orders():
    hook = PostgresHook(postgres_conn_id="trading_db")
    with closing(hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("select count(*) from orders")
        return cursor.fetchone()[0]


@task
def with_stack():
    hook = PostgresHook("trading_db")
    with ExitStack() as stack:
        connection = stack.enter_context(closing(hook.get_conn()))
        connection.cursor().execute("select 1")


@task
def by_the_hook_itself():
    hook = PostgresHook("trading_db")
    hook.run("delete from staging")
    return hook.get_records("select 1")


@task
def old_school():
    hook = PostgresHook("trading_db")
    connection = hook.get_conn()
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
        connection.commit()
    except Exception:
        connection.rollback()
        raise
    finally:
        connection.close()


@task
def frame():
    engine = PostgresHook("trading_db").get_sqlalchemy_engine(engine_kwargs={"poolclass": NullPool})
    with engine.connect() as connection:
        return pd.read_sql("select 1", connection)


@task
def disposed():
    engine = PostgresHook("trading_db").get_sqlalchemy_engine()
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("select 1")
    finally:
        engine.dispose()


@task
def other_systems():
    connection = BaseHook.get_connection("trading_db")
    client = S3Hook().get_conn()
    session = HttpHook().get_conn()
    client.put_object(Bucket=connection.schema, Key="a", Body=session.get("https://example.com").content)


@task
def asked_first():
    rates = requests.get("https://rates.example", timeout=10).json()
    time.sleep(1)
    with create_session() as session:
        session.add(rates)
    time.sleep(1)


@provide_session
def given(session=None):
    return session.scalars("select 1").all()


@task
def no_pool():
    engine = create_engine("postgresql://db", poolclass=NullPool)
    with engine.connect() as connection:
        return connection.exec_driver_sql("select 1").scalar()


@dag
def fills():
    count_orders() >> old_school()
