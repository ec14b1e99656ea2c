"""Whatever a function's control flow, a connection that some run of it leaves open is found.

The programs are generated and really run, with a connection that counts. A function that closes in
``finally`` or ``with`` must never be found, whatever happens in between.
"""

from __future__ import annotations

import random
from contextlib import suppress
from textwrap import indent
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from session_lint.check_module import check_source

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS = 40
CHOICES_MAX = 40


class Choice:
    """True as often as not, so that a condition needs no call, which might raise."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._left = CHOICES_MAX

    def __bool__(self) -> bool:
        self._left -= 1
        return self._left > 0 and self._chance.random() < 0.5


class Connection:
    """Counts whether it is open, in place of a driver's."""

    opened: list[Connection]

    def __init__(self) -> None:
        self.is_open = True
        self.opened.append(self)

    def close(self) -> None:
        self.is_open = False


def block(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(children, min_size=1, max_size=3).map("\n".join)


def statements(*leaves: str, in_loop: bool = False) -> st.SearchStrategy[str]:
    simple = st.sampled_from([*leaves, "x = 1", "return", "raise ValueError", "raise KeyError"])
    if in_loop:
        simple |= st.sampled_from(["break", "continue"])

    def compound(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        body = block(children).map(lambda text: indent(text, "    "))
        return st.one_of(
            st.builds("if choice:\n{}\nelse:\n{}".format, body, body),
            st.builds("if choice:\n{}".format, body),
            st.builds("try:\n{}\nexcept ValueError:\n{}".format, body, body),
            st.builds("try:\n{}\nexcept Exception:\n{}\nelse:\n{}".format, body, body, body),
            st.builds("try:\n{}\nfinally:\n{}".format, body, body),
            st.builds("with suppress(ValueError):\n{}".format, body),
        )

    plain = st.recursive(simple, compound, max_leaves=8)
    if in_loop:
        return plain
    looped = block(statements(*leaves, in_loop=True)).map(lambda text: indent(text, "    "))
    return st.one_of(
        plain,
        looped.map("for _ in (1, 2):\n{}".format),
        looped.map("while choice:\n{}".format),
        looped.map("while True:\n    if not choice:\n        break\n{}".format),
        st.builds("for _ in (1, 2):\n{}\nelse:\n{}".format, looped, plain.map(lambda t: indent(t, "    "))),
    )


def function(body: str) -> str:
    return (
        "import psycopg\nfrom contextlib import closing, suppress\n"
        f"def work(step, choice):\n{indent(body, '    ')}\n"
    )


def leaves_open(source: str) -> bool:
    """Run a function many times, each time with other choices and errors, and look at its connections."""
    names: dict[str, Any] = {}
    exec(compile(source.replace("import psycopg\n", ""), "work", "exec"), names)  # noqa: S102 - made above
    for seed in range(RUNS):
        chance = random.Random(seed)  # noqa: S311 - no secret
        Connection.opened = []

        def step(chance: random.Random = chance) -> None:
            if chance.random() < 0.2:
                raise chance.choice([ValueError, KeyError])

        names["psycopg"] = type("psycopg", (), {"connect": staticmethod(lambda _: Connection())})
        run(names["work"], step, Choice(chance))
        if any(connection.is_open for connection in Connection.opened):
            return True
    return False


def run(work: Callable[..., Any], *arguments: Any) -> None:
    with suppress(ValueError, KeyError):
        work(*arguments)


OPEN = "connection = psycopg.connect('')"
CLOSE = "connection.close()"


@given(block(statements(CLOSE)))
@settings(max_examples=2 * settings().max_examples)
def test_a_connection_that_a_run_leaves_open_is_found(body: str) -> None:
    source = function(f"{OPEN}\n{body}")
    if leaves_open(source):
        assert [finding.code for finding in check_source(source)] in (["KRS003"], ["KRS004"]), source


@given(block(statements(f"{CLOSE}\n{OPEN}", OPEN, CLOSE, CLOSE)))
@settings(max_examples=2 * settings().max_examples)
def test_one_of_several_connections_that_a_run_leaves_open_is_found(body: str) -> None:
    source = function(f"{OPEN}\n{CLOSE}\n{body}\n{CLOSE}")
    if leaves_open(source):
        assert {finding.code for finding in check_source(source)} & {"KRS003", "KRS004"}, source


@given(block(statements("step()", "x = step()", "return step()")))
def test_a_connection_that_is_always_closed_is_not_found(body: str) -> None:
    inner = indent(body, "    ")
    for source in (
        function(f"connection = psycopg.connect('')\ntry:\n{inner}\nfinally:\n    connection.close()"),
        function(f"with closing(psycopg.connect('')) as connection:\n{inner}"),
        function(
            f"connection = None\ntry:\n    connection = psycopg.connect('')\n{inner}\n"
            "finally:\n    if connection is not None:\n        connection.close()"
        ),
    ):
        assert not leaves_open(source)
        assert check_source(source) == [], source
