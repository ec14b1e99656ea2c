"""Units of work around an exchange, and services in the style of web frameworks and task queues."""

import time

import krakenex
import pytest
import requests
from celery import shared_task
from fastapi import APIRouter

from .database import PostgresUnitOfWork, SessionLocal, open_unit_of_work

router = APIRouter()


def ask_balances():
    return requests.get("https://api.kraken.com/0/public/Time", timeout=10).json()


def ask_twice():
    return ask_balances(), ask_balances()


def sync(ports, account):
    with ports.open_unit_of_work() as unit, ports.open_exchange(account) as exchange:
        unit.sync.record(exchange.balances())  # expect: KRS009


def sync_with_port(exchange, account):
    with open_unit_of_work() as unit:
        unit.sync.record(account, exchange.ledger(account))  # expect: KRS009


def sync_with_krakenex(account):
    api = krakenex.API()
    with open_unit_of_work() as unit:
        unit.record(api.query_private("Balance"))  # expect: KRS009


def sync_through_functions(engine):
    with PostgresUnitOfWork(engine) as unit:
        unit.record(ask_twice())  # expect: KRS009


def commit_is_not_enough_for_a_unit(engine):
    with PostgresUnitOfWork(engine) as unit:
        unit.commit()
        time.sleep(1)  # expect: KRS009


def nested(engine):
    with PostgresUnitOfWork(engine) as unit:
        for account in unit.accounts():
            with PostgresUnitOfWork(engine) as inner:  # expect: KRS010
                inner.book(account)


@router.get("/orders")
def list_orders():
    session = SessionLocal()  # expect: KRS003
    return session.query("orders").all()


@shared_task
def settle(order_id):
    session = SessionLocal()  # expect: KRS004
    order = session.get("orders", order_id)
    if order is None:
        return
    order.settle()
    session.commit()
    session.close()


class Listener:
    def __init__(self):
        self.exchange = krakenex.API()

    def poll(self):
        return self.exchange.query_public("Time")

    def run(self):
        with SessionLocal() as session:
            session.flush()
            self.poll()  # expect: KRS009


@pytest.fixture
def database():
    session = SessionLocal()  # expect: KRS007
    return session


@pytest.fixture
def failing(engine):
    connection = engine.connect()  # expect: KRS003
    yield connection
    connection.rollback()
