"""Web frameworks, task queues, orchestrators and tests."""

import unittest

import pytest
import requests
from celery import shared_task
from dagster import op, resource
from fastapi import APIRouter, Depends
from prefect import flow
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from .database import PostgresUnitOfWork, SessionLocal, engine

router = APIRouter()


def get_database():
    database = SessionLocal()
    try:
        yield database
    finally:
        database.close()


@router.get("/orders")
def list_orders(database: Session = Depends(get_database)):
    return database.query("orders").all()


@shared_task
def settle(order_id):
    with SessionLocal() as session:
        order = session.get("orders", order_id)
        if order is None:
            return
        order.settle()
        session.commit()


@resource
def database_resource(context):
    session = SessionLocal()
    try:
        yield session
    finally:
        session.close()


@op
def count(context):
    return context.resources.database.execute("select 1").scalar()


@flow
def nightly():
    prices = requests.get("https://prices.example", timeout=10).json()
    with engine.begin() as connection:
        connection.execute("insert into prices values (:p)", prices)


def sync(ports, account):
    with ports.open_unit_of_work() as unit:
        known = unit.sync.find_account(account)
    with ports.open_exchange(known) as exchange:
        balances = exchange.balances()
    with ports.open_unit_of_work() as unit:
        unit.sync.record(balances)


def ports_of(engine):
    return lambda: PostgresUnitOfWork(engine)


@pytest.fixture
def session():
    session = SessionLocal()
    yield session
    session.close()


@pytest.fixture
def connection(request):
    connection = engine.connect()
    request.addfinalizer(connection.close)
    return connection


@pytest.fixture(params=["one", "many"])
def prepared(request):
    with engine.connect() as connection:
        if request.param == "one":
            yield connection
        else:
            yield connection.begin()


def test_refused():
    with pytest.raises(OSError):
        engine.connect()


class OrdersTest(unittest.TestCase):
    def setUp(self):
        self.engine = create_engine("postgresql://db")
        self.session = Session(self.engine)
        self.connection = self.engine.connect()
        self.addCleanup(self.connection.close)

    def tearDown(self):
        self.session.close()

    def test_order(self):
        connection = self.engine.connect()
        self.addCleanup(connection.close)
        connection.execute("select 1")


class Proxy:
    def __init__(self, connection):
        self.cursor = connection.cursor()

    def __getattr__(self, name):
        return getattr(self.cursor, name)


class Database:
    """Not a database's session at all."""

    def connect(self):
        return requests.Session()

    def signals(self, signal, handler):
        signal.connect(handler)
        self.connect().get("https://example.com")
