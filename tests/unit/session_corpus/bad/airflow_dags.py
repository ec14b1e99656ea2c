"""DAG files as desks write them."""

import time

import pandas as pd
import psycopg2
import requests
from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.providers.sqlite.hooks.sqlite import SqliteHook
from airflow.sdk import dag, task
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

hook = PostgresHook("trading_db")
CONNECTION = hook.get_conn()  # expect: KRS007


@task
def count_orders():
    hook = PostgresHook(postgres_conn_id="trading_db")
    connection = hook.get_conn()  # expect: KRS003
    cursor = connection.cursor()
    cursor.execute("select count(*) from orders")
    return cursor.fetchone()[0]


@task
def count_orders_at_once():
    cursor = PostgresHook("trading_db").get_conn().cursor()  # expect: KRS005
    cursor.execute("select count(*) from orders")
    return cursor.fetchone()[0]


@task
def load_frame(path):
    engine = PostgresHook("trading_db").get_sqlalchemy_engine()  # expect: KRS002
    frame = pd.read_csv(path)
    frame.to_sql("fills", engine, if_exists="append")


@task
def read_frame():
    return pd.read_sql("select * from fills", PostgresHook("trading_db").get_sqlalchemy_engine())  # expect: KRS002


@task
def with_hook():
    pg_hook = PostgresHook("trading_db")
    with pg_hook.get_conn() as connection:  # expect: KRS006
        with connection.cursor() as cursor:
            cursor.execute("delete from staging")


@task
def with_sqlite_hook():
    with SqliteHook().get_conn() as connection:  # expect: KRS006
        connection.execute("delete from staging")


@task
def notify():
    engine = create_engine("postgresql://db")  # expect: KRS002
    with Session(engine) as session:
        rows = session.execute("select * from alerts").all()
        for row in rows:
            requests.post("https://chat.example/hook", json={"text": row.text}, timeout=10)  # expect: KRS009


@task
def wait_for_rows(database_hook):
    connection = psycopg2.connect("dbname=trading")
    try:
        while True:
            with connection.cursor() as cursor:
                cursor.execute("select count(*) from fills")
                if cursor.fetchone()[0]:
                    return
            time.sleep(30)  # expect: KRS009
    finally:
        connection.close()


class FillsOperator:
    def execute(self, context):
        self.connection = psycopg2.connect("dbname=trading")  # expect: KRS007
        self.connection.cursor().execute("select 1")


@dag
def fills():
    count_orders() >> notify()
