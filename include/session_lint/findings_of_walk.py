"""From the walk over a function to its findings."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from session_lint import rules
from session_lint.containers import emptied_names
from session_lint.imported_names import Function, decorators_of, names_in, path_of
from session_lint.kinds import HELD, SHARED, Kind
from session_lint.vocabulary import CACHES, CLOSERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from session_lint.open_state import Exits, Resource
    from session_lint.walk_paths import Flow

    Report = Callable[[ast.AST, str, str], None]

# Any other decorator may drive the generator to its end.
_LEAVES_ALONE: Final = frozenset({"staticmethod", "classmethod", "property", "override", "wraps"})
_CLOSING_METHOD: Final = re.compile(
    r"(^|_)(a?close|a?exit|getattr|stop|shut_?down|dispose|disconnect|tear_?down|terminate|clean|release|kill"
    r"|finish|finali[sz]e|reset|(del|end)(_|$))",
    re.IGNORECASE,
)


def judge_exits(flow: Flow, exits: Exits, report: Report, *, is_module: bool) -> None:
    """Report what is open where control leaves for good."""
    if is_module and exits.raised is not None:
        exits = replace(exits, raised=None)  # the process ends with it
    for resource in (*flow.tracker.resources.values(), *flow.tracker.moved.values()):
        opening = resource.opening
        is_owned = opening.kind is Kind.CURSOR and resource.owners
        if resource.is_managed or not opening.needs_closing or is_owned:
            continue
        if is_module and opening.kind in SHARED:
            continue
        if resource in flow.tracker.released:
            how = "" if opening.kind is Kind.CURSOR else _way_out(flow, exits, resource)
            if how:
                message = f"this {opening.kind} is closed on some paths only: {how}"
                report(resource.node, rules.NOT_ON_EVERY_PATH, message)
        elif resource in flow.lost or any(
            way is not None and resource in way.open for way in (exits.next, exits.returned, exits.raised)
        ):
            report(resource.node, *_never_closed(flow, resource, is_module=is_module))


def _way_out(flow: Flow, exits: Exits, resource: Resource) -> str:
    """Say by which way control leaves with the resource open, or nothing."""
    is_strict = resource.opening.kind in {Kind.SESSION, Kind.CONNECTION}
    if exits.returned is not None and resource in exits.returned.open:
        return f"the return in line {exits.returned.open[resource]} leaves it open"
    if resource in flow.lost and is_strict:
        return f"line {flow.lost[resource]} replaces it while it is open"
    if exits.next is not None and resource in exits.next.open:
        return "the end can be reached with it open"
    if is_strict and exits.raised is not None and resource in exits.raised.open:
        return f"an exception in line {exits.raised.open[resource]} leaves it open"
    return ""


def _never_closed(flow: Flow, resource: Resource, *, is_module: bool) -> tuple[str, str]:
    kind = resource.opening.kind
    if resource.opening.is_generated and not is_module:
        return rules.GENERATOR, f"this {kind} comes out of a generator that nobody goes on with or closes"
    if resource in flow.tracker.entered:
        return (
            rules.WITH_LEAVES_OPEN,
            f"the with block ends this {kind}'s transaction and leaves it open",
        )
    if is_module:
        return rules.KEPT, f"this {kind} is kept in a global of the module"
    if kind in SHARED:
        return rules.ENGINE, f"this {kind} is made on every call, and nobody disposes of it"
    return rules.NEVER_CLOSED, f"this {kind} is never closed"


def judge_keeping(
    flow: Flow, function: Function, imports: dict[str, str], report: Report, *, is_dependency: bool
) -> None:
    """Report sessions that the function's cache, pytest or a web framework keeps for ever."""
    keepers = sorted(set(decorators_of(function, imports)) & (CACHES | {"fixture"}))
    keepers = [f"@{keeper}" for keeper in keepers] + ["Depends()"] * is_dependency
    for node, resource in flow.returned if keepers else ():
        opening = resource.opening
        if opening.kind not in HELD or resource.is_managed or not opening.needs_closing:
            continue
        if "@fixture" not in keepers or not _is_finalised(function, node):
            message = f"this {opening.kind} is returned through {keepers[0]}, which never closes it"
            report(resource.node, rules.KEPT, message)


def _is_finalised(function: Function, returned: ast.Return) -> bool:
    """Tell whether the fixture names the closing of what it returns anywhere."""
    names = names_in(returned)
    return any(
        isinstance(part, ast.Attribute) and part.attr in CLOSERS and names_in(part.value) & names
        for part in ast.walk(function)
    )


def judge_stored(flow: Flow, home: ast.ClassDef | None, module_names: set[str], report: Report) -> None:
    """Report sessions stored in an object that never closes them, or in a global."""
    for target, resource in [*flow.stored, *flow.tracker.kept]:
        kind, path = resource.opening.kind, path_of(target, {})
        its_generator = names_in(resource.node) if resource.opening.is_generated else set()
        if home is not None and any(_closes(home, name) for name in its_generator):
            continue
        if any(owner.opening.kind is Kind.STACK for owner in resource.owners):
            continue  # whoever has the stack closes it
        if not resource.opening.needs_closing or resource.is_managed or kind is Kind.ENGINE:
            continue
        if path.startswith("self.") and isinstance(target, ast.Attribute):
            if home is not None and not _closes(home, path):
                code = rules.ENGINE if kind is Kind.POOL else rules.KEPT
                message = f"this {kind} is kept in {path}, which no method of the class closes"
                report(resource.node, code, message)
        elif kind in HELD and path.split(".", 1)[0].removesuffix("[]") in module_names:
            report(resource.node, rules.KEPT, f"this {kind} is kept in the global {path}")


def _closes(home: ast.ClassDef, path: str) -> bool:
    """Tell whether a method of the class closes an attribute, or is named for closing and mentions it."""
    if path in emptied_names(home):
        return True
    for method in home.body:
        if not isinstance(method, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if path not in names_in(method):
            continue
        if _CLOSING_METHOD.search(method.name):
            return True
        for part in ast.walk(method):
            if isinstance(part, ast.Attribute) and part.attr in CLOSERS and path_of(part.value, {}) == path:
                return True
    return False


def judge_yields(flow: Flow, function: Function, imports: dict[str, str], report: Report) -> None:
    """Report a generator that suspends with a session open, unless it is driven to its end by design."""
    if set(decorators_of(function, imports)) - _LEAVES_ALONE:
        return
    holding = []
    for node, state in flow.tracker.yields:
        held = [r for r in state.open if r.opening.kind in HELD - {Kind.CURSOR} and r.opening.needs_closing]
        held = [r for r in held if not r.opening.is_generated]
        if held:
            holding.append((node, state, held))
    places = {node for node, _, _ in holding}
    for node, state, held in holding:
        gives_it = node.value is not None and bool(flow.tracker.carried(node.value, state) & set(held))
        is_one = node in flow.looping_yields or isinstance(node, ast.YieldFrom)
        if is_one or (len(places) > 1 and not gives_it):
            kind = held[0].opening.kind
            message = f"the {kind} of line {held[0].node.lineno} stays open while this generator waits"
            report(node, rules.GENERATOR, message)
            return


def is_fixture(function: Function, imports: dict[str, str]) -> bool:
    """Tell whether pytest drives the generator, which never raises into it."""
    return "fixture" in decorators_of(function, imports)
