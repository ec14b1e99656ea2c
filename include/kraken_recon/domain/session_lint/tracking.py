"""What an expression does to open sessions: it opens, uses, commits, closes or passes them on."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kraken_recon.domain.session_lint import rules
from kraken_recon.domain.session_lint.names import SCOPES, free_names, last_name, names_in, own_nodes, path_of
from kraken_recon.domain.session_lint.openings import HELD, SHARED, Kind, Opening, Scope
from kraken_recon.domain.session_lint.states import Resource, State
from kraken_recon.domain.session_lint.waiting import waits

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSERS: Final = frozenset(
    [
        "close",
        "aclose",
        "dispose",
        "remove",
        "terminate",
        "closeall",
        "close_all",
        "disconnect",
        "shutdown",
        "stop",
        "release",
        "quit",
        "invalidate",
        "__exit__",
        "__aexit__",
    ]
)
_ENDERS: Final = frozenset({"commit", "rollback", "expunge_all"})
_TAKERS: Final = frozenset(
    [
        "putconn",
        "release",
        "enter_context",
        "enter_async_context",
        "push",
        "push_async_exit",
        "callback",
        "push_async_callback",
        "addfinalizer",
        "addCleanup",
        "addAsyncCleanup",
        "addModuleCleanup",
        "enterContext",
        "register",
        "finalize",
        "append",
        "appendleft",
        "insert",
        "add",
        "set",
        "setdefault",
        "put",
        "put_nowait",
    ]
)
_MAY_FAIL: Final = frozenset(
    {"insert", "put", "put_nowait", "enter_context", "enter_async_context", "enterContext"}
)
_CLOSING_NAME: Final = re.compile(
    r"close|release|dispose|clean_?up|tear_?down|shut_?down|finalize|disconnect", re.IGNORECASE
)
_WRAPPERS: Final = frozenset(
    {"partial", "closing", "aclosing", "enter_context", "enter_async_context", "cast"}
)
_QUIET: Final = re.compile(
    r"^(print|isinstance|len|repr|str|bool|id|type|hasattr|getattr|(contextlib\.)?(suppress|nullcontext))$"
    r"|^(self\.)?_?(log|logger|logging|LOG|LOGGER)\b|^warnings\.warn$|^time\.(time|monotonic|perf_counter)$"
)


@dataclass
class Tracker:
    """Follows the expressions of one function, or of a module's own body.

    Attributes:
        scope: its names.
        report: takes a place, a rule's code and a message.
        waiting: the module's functions that wait.
        guards: the names that decide whether control gets here, outermost first.
        resources: each opening seen.
        released: what is closed or passed on somewhere.
        entered: what a with block was entered with that does not close it.
        yields: each yield with what was open at it.
    """

    scope: Scope
    report: Callable[[ast.AST, str, str], None]
    waiting: frozenset[str]
    guards: list[set[str]] = field(default_factory=list)
    resources: dict[ast.expr, Resource] = field(default_factory=dict)
    released: set[Resource] = field(default_factory=set)
    entered: set[Resource] = field(default_factory=set)
    yields: list[tuple[ast.Yield | ast.YieldFrom, State]] = field(default_factory=list)

    def evaluate(self, node: ast.AST, state: State) -> State:
        """Apply an expression's calls, the innermost first."""
        for part in reversed(list(own_nodes(node))):
            if isinstance(part, ast.Call):
                state = self._call(part, state)
            elif isinstance(part, (ast.Yield, ast.YieldFrom)):
                self.yields.append((part, state))
            elif isinstance(part, SCOPES):
                state = self.passed_on(part, state)
        return state

    def passed_on(self, node: ast.AST, state: State) -> State:
        """Let go of every resource that an inner function or class names: it may close it now."""
        names = frozenset[Resource]().union(
            *(state.names.get(name, frozenset()) for name in free_names(node))
        )
        return self.release(state, names)

    def named(self, node: ast.AST, state: State) -> frozenset[Resource]:
        """Return the resources that a node names."""
        return frozenset().union(*(state.names.get(name, frozenset()) for name in names_in(node)))

    def release(self, state: State, resources: frozenset[Resource]) -> State:
        """Close resources, or pass them on."""
        self.released |= resources
        return state.closed(resources)

    def _call(self, node: ast.Call, state: State) -> State:
        closed = self._closed_by(node, state)
        if closed:
            return self.release(state, closed)
        used = frozenset(r for r in self.named(node, state) if r.opening.kind not in SHARED)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _ENDERS:
            return state.quiet(r for r in used if r.opening.kind is not Kind.UNIT)
        path = path_of(node.func, self.scope.imports)
        held = [resource for resource in state.busy if resource in state.open]
        if held and (path in self.waiting or waits(node, self.scope)):
            kinds = " and ".join(sorted({str(resource.opening.kind) for resource in held}))
            through = " waits and" if path in self.waiting else ""
            self.report(node, rules.WAITING, f"{path}(){through} is called while a {kinds} is held open")
        return state.used(r for r in used if r.opening.holds_transactions)

    def _closed_by(self, node: ast.Call, state: State) -> frozenset[Resource]:
        function = node.func
        name = last_name(path_of(function, self.scope.imports))
        closed: frozenset[Resource] = frozenset()
        if isinstance(function, ast.Attribute) and function.attr in CLOSERS:
            receiver = path_of(function.value, {})
            closed |= state.names.get(receiver, frozenset())
            closed |= {
                r for r in state.open if r.opening.source == path_of(function.value, self.scope.imports)
            }
        takes = name in _TAKERS or bool(_CLOSING_NAME.search(name))
        for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
            if isinstance(argument, ast.Attribute) and argument.attr in CLOSERS:
                closed |= self.named(argument.value, state)
            elif takes:
                closed |= self.carried(argument, state)
        return closed

    def carried(self, node: ast.AST, state: State) -> frozenset[Resource]:
        """Return the resources that an expression's value is or contains, its own openings too."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            return state.names.get(path_of(node, {}), frozenset())
        if isinstance(node, (ast.Await, ast.Starred, ast.NamedExpr)):
            return self.carried(node.value, state)
        if isinstance(node, ast.Call):
            return self._carried_by_call(node, state)
        parts: list[ast.expr] = []
        is_choice = isinstance(node, (ast.IfExp, ast.BoolOp))
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            parts = node.elts
        elif isinstance(node, (ast.Dict, ast.BoolOp)):
            parts = node.values
        elif isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        self.guards.append(names_in(node) if is_choice else set())
        found = frozenset[Resource]().union(*(self.carried(part, state) for part in parts))
        self.guards.pop()
        return found

    def _carried_by_call(self, node: ast.Call, state: State) -> frozenset[Resource]:
        name = last_name(path_of(node.func, self.scope.imports))
        opening = self.scope.opening_of(node)
        if opening is not None and opening.kind in HELD | SHARED:
            return frozenset() if opening.only_with else frozenset({self.resource(node, opening, state)})
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if name in {"enter_context", "enter_async_context", "enterContext"} and arguments:
            return self._entered(arguments[0], state)
        if name[:1].isupper() or name in _WRAPPERS or opening is not None:
            return frozenset[Resource]().union(*(self.carried(argument, state) for argument in arguments))
        return frozenset()

    def _entered(self, node: ast.expr, state: State) -> frozenset[Resource]:
        """Give what an exit stack closes at its own end, at the latest."""
        opening = self.scope.opening_of(node)
        if opening is None or opening.kind not in HELD:
            return frozenset()
        resource = self.resource(node, opening, state, is_managed=opening.with_closes)
        if not opening.with_closes:
            self.entered.add(resource)
        return frozenset({resource})

    def resource(
        self, node: ast.expr, opening: Opening, state: State, *, is_managed: bool = False
    ) -> Resource:
        """Give the resource of an opening; the same whenever control comes by."""
        if isinstance(node, ast.Await):
            node = node.value
        if node not in self.resources:
            owners = frozenset(r for r in self.named(node, state) if r.opening.kind not in SHARED)
            guards = frozenset[str]().union(*self.guards)
            self.resources[node] = Resource(node, opening, is_managed, guards, owners)
        return self.resources[node]

    def may_raise(self, node: ast.AST, *, yields_raise: bool) -> bool:
        """Tell whether evaluating a node may raise, as far as anybody guards against it."""
        for part in own_nodes(node):
            if isinstance(part, (ast.Yield, ast.YieldFrom)) and yields_raise:
                return True
            if isinstance(part, ast.Call) and not self._is_harmless(part):
                return True
        return False

    def _is_harmless(self, node: ast.Call) -> bool:
        opening = self.scope.opening_of(node)
        if opening is not None and opening.kind in {Kind.CURSOR, Kind.FACTORY}:
            return True
        if isinstance(node.func, ast.Attribute) and node.func.attr in CLOSERS:
            return True
        path = path_of(node.func, self.scope.imports)
        return bool(_QUIET.search(path)) or last_name(path) in _TAKERS - _MAY_FAIL
