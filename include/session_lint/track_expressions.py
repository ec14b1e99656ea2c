"""What an expression does to open sessions: it opens, uses, commits, closes or passes them on."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from session_lint import rules
from session_lint.containers import is_never_emptied
from session_lint.handing import enumerate_arguments, registry_used_by
from session_lint.imported_names import SCOPES, free_names, last_name, names_in, own_nodes, path_of
from session_lint.kinds import FOLLOWED, HELD, KEEPING, SHARED, Kind, OpeningCall
from session_lint.open_state import Resource, State
from session_lint.vocabulary import CLOSERS, ENDERS, ENTERERS, KEEPERS, MAY_FAIL, TAKERS
from session_lint.what_waits import waits

if TYPE_CHECKING:
    from collections.abc import Callable

    from session_lint.what_opens_a_session import Scope

_CLOSING_NAME: Final = re.compile(
    r"close|release|dispose|clean_?up|tear_?down|shut_?down|finalize|disconnect", re.IGNORECASE
)
_WRAPPERS: Final = ENTERERS | {"partial", "closing", "aclosing", "cast", "iter", "aiter"}
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
        moved: each resource that went on from one exit stack to another, there.
        released: what is closed or passed on somewhere.
        entered: what a with block was entered with that does not close it.
        yields: each yield with what was open at it.
        kept: what was put into a container, with the container.
    """

    scope: Scope
    report: Callable[[ast.AST, str, str], None]
    waiting: frozenset[str]
    guards: list[set[str]] = field(default_factory=list)
    resources: dict[ast.expr, Resource] = field(default_factory=dict)
    moved: dict[tuple[Resource, ast.Call], Resource] = field(default_factory=dict)
    released: set[Resource] = field(default_factory=set)
    entered: set[Resource] = field(default_factory=set)
    yields: list[tuple[ast.Yield | ast.YieldFrom, State]] = field(default_factory=list)
    kept: list[tuple[ast.expr, Resource]] = field(default_factory=list)

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
        self.released |= resources | {owned for owned in state.open if owned.owners & resources}
        return state.closed(resources)

    def _call(self, node: ast.Call, state: State) -> State:
        state = self._moved(node, self._put_into_container(node, state))
        closed = self._closed_by(node, state)
        if last_name(path_of(node.func, {})) in ENTERERS and node.args:
            for resource in self._entered(node, node.args[0], state) - closed - state.open.keys():
                if not resource.is_managed:
                    state = state.opened(resource, is_busy=False)
        if closed:
            return self.release(state, closed)
        state = self._used_through_registry(node, state)
        used = frozenset(r for r in self.named(node, state) if r.opening.kind not in SHARED)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ENDERS:
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
        takes = name in TAKERS - KEEPERS or bool(_CLOSING_NAME.search(name))
        taken = self.scope.taken_by(path_of(function, self.scope.imports))
        for key, argument in enumerate_arguments(node):
            if isinstance(argument, ast.Attribute) and argument.attr in CLOSERS:
                closed |= self.named(argument.value, state)
            elif name in ENTERERS:
                entered = self._entered(node, argument, state)
                closed |= {r for r in entered if r.is_managed or (r in state.open and not _is_in_stack(r))}
            elif takes or key in taken:
                closed |= self.carried(argument, state)
        return closed | self._ended_with_generator(node, state)

    def _ended_with_generator(self, node: ast.Call, state: State) -> frozenset[Resource]:
        """Give what ends when a generator goes on beyond its yield, or somebody else drives it."""
        function = node.func
        source = function.value if isinstance(function, ast.Attribute) else None
        handled = [source] if source is not None else [value for _, value in enumerate_arguments(node)]
        generators = {
            resource
            for part in handled
            if isinstance(part, (ast.Name, ast.Attribute))
            for resource in self.carried(part, state)
            if resource.opening.kind is Kind.GENERATOR
        }
        is_step = self.scope.opening_of(node) is not None
        is_thrown = isinstance(function, ast.Attribute) and function.attr in {"throw", "athrow"}
        if is_thrown or (not is_step and source is None):
            return frozenset(generators)
        return (
            frozenset(owned for owned in state.open if owned.owners & generators) if is_step else frozenset()
        )

    def _used_through_registry(self, node: ast.Call, state: State) -> State:
        """Open the session that a registry makes for whoever uses it first."""
        path = registry_used_by(node, self.scope)
        if not path or any(resource.opening.source == path for resource in state.open):
            return state
        resource = self.resource(node, OpeningCall(Kind.SESSION, path), state)
        return state.opened(resource, is_busy=True)

    def _put_into_container(self, node: ast.Call, state: State) -> State:
        """Pass a session on to its container; one in a local container that nobody empties stays open."""
        function = node.func
        if not isinstance(function, ast.Attribute) or function.attr not in KEEPERS:
            return state
        for _, argument in enumerate_arguments(node):
            carried = self.carried(argument, state)
            held = frozenset(r for r in carried if r.opening.kind in HELD)
            if is_never_emptied(function.value, self.scope):
                for resource in held - set(state.open):
                    state = state.opened(resource, is_busy=False)
            else:
                self.kept += [(function.value, resource) for resource in held]
                state = self.release(state, carried)
        return state

    def carried(self, node: ast.AST, state: State) -> frozenset[Resource]:
        """Return the resources that an expression's value is or contains, its own openings too."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            return state.names.get(path_of(node, {}), frozenset())
        if isinstance(node, (ast.Await, ast.Starred, ast.NamedExpr)):
            return self.carried(node.value, state)
        if isinstance(node, (ast.Call, ast.Subscript)):
            opening = self.scope.opening_of(node)
            if opening is not None and opening.kind in FOLLOWED:
                return frozenset() if opening.only_with else frozenset({self.resource(node, opening, state)})
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
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if name in ENTERERS and arguments:
            return self._entered(node, arguments[0], state)
        if name[:1].isupper() or name in _WRAPPERS or self.scope.opening_of(node) is not None:
            return frozenset[Resource]().union(*(self.carried(argument, state) for argument in arguments))
        return frozenset()

    def _entered(self, call: ast.Call, node: ast.expr, state: State) -> frozenset[Resource]:
        """Give what an exit stack closes at its own end, at the latest."""
        receiver = path_of(call.func.value, {}) if isinstance(call.func, ast.Attribute) else ""
        stacks = frozenset(
            resource
            for resource in state.names.get(receiver, frozenset())
            if resource.opening.kind is Kind.STACK and (not resource.is_managed or self._is_emptied(receiver))
        )
        inner, closes = node, False
        if isinstance(node, ast.Call) and node.args:
            closes = last_name(path_of(node.func, self.scope.imports)) in {"closing", "aclosing"}
            inner = node.args[0] if closes else node
        opening = self.scope.opening_of(inner)
        if opening is None or opening.kind not in FOLLOWED:
            held = self.carried(inner, state)
        else:
            is_managed = (closes or opening.with_closes or opening.only_with) and not stacks
            held = frozenset({self.resource(inner, opening, state, is_managed=is_managed, keepers=stacks)})
        left_open = frozenset(r for r in held if not closes and not r.opening.with_closes)
        self.entered |= left_open
        return held - left_open if inner is not node or opening is None else held

    def _is_emptied(self, stack: str) -> bool:
        """Tell whether what a stack was given may leave it for another."""
        return any(
            isinstance(part, ast.Attribute) and part.attr == "pop_all" and path_of(part.value, {}) == stack
            for part in self.scope.nodes
        )

    def _moved(self, node: ast.Call, state: State) -> State:
        """Move what a stack holds to the one that ``pop_all`` gives."""
        if not isinstance(node.func, ast.Attribute) or node.func.attr != "pop_all":
            return state
        old, new = self.carried(node.func.value, state), self.carried(node, state)
        for held in [resource for resource in state.open if new and resource.owners & old]:
            moved = replace(held, owners=held.owners - old | new)
            state = state.replaced(held, self.moved.setdefault((held, node), moved))
        return state

    def generated(self, node: ast.expr, state: State) -> frozenset[Resource]:
        """Give what each round of a loop over a generator of sessions gets."""
        generator = self.scope.generator_of(node)
        if generator is None or generator.given is None:
            return frozenset()
        return frozenset({self.resource(node, replace(generator.given, is_generated=True), state)})

    def resource(
        self,
        node: ast.expr,
        opening: OpeningCall,
        state: State,
        *,
        is_managed: bool = False,
        keepers: frozenset[Resource] = frozenset(),
    ) -> Resource:
        """Give the resource of an opening; the same whenever control comes by."""
        if isinstance(node, ast.Await):
            node = node.value
        if node not in self.resources:
            # What is taken out of a list was given by a generator that has ended already.
            named = frozenset() if isinstance(node, ast.Subscript) else self.named(node, state)
            owners = frozenset(r for r in named if r.opening.kind not in SHARED) | keepers
            guards = frozenset[str]().union(*self.guards)
            # Whoever was given the generator or the stack ends it, and with it what came of it.
            is_managed = is_managed or any(r in self.released for r in owners if r.opening.kind in KEEPING)
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
        if opening is not None and opening.kind in {Kind.CURSOR, Kind.FACTORY, Kind.REGISTRY, *KEEPING}:
            return True
        if isinstance(node.func, ast.Attribute) and node.func.attr in CLOSERS:
            return True
        path = path_of(node.func, self.scope.imports)
        if self.scope.taken_by(path):
            return True  # whatever it raises, the session is its own by then
        return bool(_QUIET.search(path)) or last_name(path) in TAKERS - MAY_FAIL


def _is_in_stack(resource: Resource) -> bool:
    return any(owner.opening.kind is Kind.STACK for owner in resource.owners)
