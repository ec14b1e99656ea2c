"""Check one module: build its scopes, walk its functions, and leave out what is allowed with a reason."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from typing import Final

from session_lint import rules
from session_lint.containers import emptied_names
from session_lint.findings_of_walk import is_fixture, judge_exits, judge_keeping, judge_stored, judge_yields
from session_lint.handing import cleaned_registries, handed_out, registry_used_by, taken_over
from session_lint.imported_names import (
    FUNCTIONS,
    SCOPES,
    Function,
    decorators_of,
    imported_names,
    last_name,
    own_nodes,
    path_of,
)
from session_lint.kinds import FOLLOWED, HELD, SHARED, Kind, OpeningCall
from session_lint.open_state import Resource, State
from session_lint.rules import Violation
from session_lint.track_expressions import Tracker
from session_lint.walk_paths import Flow
from session_lint.what_opens_a_session import Scope, hook_kind
from session_lint.what_waits import waiting_functions
from session_lint.wrong_places import check_kept, check_temporaries

_DEPENDENCY_MAKERS: Final = frozenset({"Depends", "Security", "Provide"})
_ALLOWED: Final = re.compile(r"#\s*session:\s*allowed\b(?:\s*-+\s*(?P<reason>\S.*))?")
_OPENS: Final = HELD | SHARED | {Kind.FACTORY, Kind.REGISTRY}


def check_source(source: str, *, is_the_one_place: bool = True) -> list[Violation]:
    """Check the source of one module; the findings are in the order of its lines.

    Args:
        source: Python source.
        is_the_one_place: engines and sessions may be opened here at all.

    Raises:
        SyntaxError: it is no Python source of this interpreter's version.
    """
    module = ast.parse(source)
    allowed, unreasoned = _allowed_lines(source) if "session:" in source else ({}, [])
    check = _ModuleCheck(module)
    check.run(is_the_one_place=is_the_one_place)
    found = {
        Violation(node.lineno, node.col_offset + 1, code, message)
        for node, code, message in check.findings
        if not any(line in allowed for line in range(node.lineno, (node.end_lineno or node.lineno) + 1))
    }
    found |= {
        Violation(line, column, rules.NO_REASON, "this line is allowed, but nothing says why")
        for line, column in unreasoned
    }
    return sorted(found)


def _allowed_lines(source: str) -> tuple[set[int], list[tuple[int, int]]]:
    """Find the lines with an allowing comment, or below one; and such comments without a reason."""
    allowed: set[int] = set()
    unreasoned = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        match = _ALLOWED.match(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        line, column = token.start
        if not match["reason"]:
            unreasoned.append((line, column + 1))
        stands_alone = not token.line[:column].strip()
        allowed.add(line + 1 if stands_alone else line)
    return allowed, unreasoned


@dataclass
class _ModuleCheck:
    module: ast.Module
    findings: list[tuple[ast.expr, str, str]] = field(default_factory=list)
    imports: dict[str, str] = field(default_factory=dict)
    scopes: dict[ast.AST, Scope] = field(default_factory=dict)
    homes: dict[ast.AST, ast.ClassDef] = field(default_factory=dict)
    dependencies: set[str] = field(default_factory=set)

    def run(self, *, is_the_one_place: bool) -> None:
        self.imports = imported_names(self.module)
        self._build(self.module, None, None)
        self._learn_from_functions()
        if not any(s.openings or self._has_something_to_follow(root, s) for root, s in self.scopes.items()):
            return
        waiting = waiting_functions(self.scopes)
        names = self._module_names() - emptied_names(self.module)
        self._check_dependencies()
        for root, scope in self.scopes.items():
            check_temporaries(scope, self.report)
            check_kept(root, scope, self.report)
            if not is_the_one_place:
                self._check_place(scope)
            if isinstance(root, (ast.Module, *FUNCTIONS)) and self._has_something_to_follow(root, scope):
                self._walk(root, scope, waiting, names)

    def _learn_from_functions(self) -> None:
        """Learn what the module's functions do with sessions, until nothing new follows from it."""
        root = self.scopes[self.module]
        while (handed := handed_out(self.scopes)) != root.handed:
            root.handed |= handed
            for scope in self.scopes.values():
                scope.openings.clear()
                scope.learn()
            if len(handed) < len(root.handed):
                break  # two functions hand each other's on
        root.cleaned = cleaned_registries(self.scopes)
        if any(scope.openings for scope in self.scopes.values()):
            root.taken = taken_over(self.scopes, self._module_names())

    def _module_names(self) -> set[str]:
        """Name the variables of the module, those included that a function makes global."""
        names = {
            node.id
            for node in self.scopes[self.module].nodes
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        return names.union(
            *(n.names for scope in self.scopes.values() for n in scope.nodes if isinstance(n, ast.Global))
        )

    def _check_dependencies(self) -> None:
        """Note the functions that a web framework calls, and report what it would never close."""
        scope = self.scopes[self.module]
        for node in ast.walk(self.module):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if last_name(path_of(node.func, self.imports)) not in _DEPENDENCY_MAKERS:
                continue
            given = node.args[0]
            path = path_of(given, self.imports)
            self.dependencies.add(path)
            if isinstance(given, (ast.Name, ast.Attribute)) and scope.kind_of(path) is Kind.FACTORY:
                message = "this session is opened for each request, and nothing closes it"
                self.report(given, rules.NEVER_CLOSED, message)

    def report(self, node: ast.AST, code: str, message: str) -> None:
        if isinstance(node, ast.expr):
            self.findings.append((node, code, message))

    def _build(self, root: ast.AST, parent: Scope | None, home: ast.ClassDef | None) -> None:
        scope = Scope(self.imports, parent, list(own_nodes(root)))
        self.scopes[root] = scope
        if home is not None:
            self.homes[root] = home
        if isinstance(root, (*FUNCTIONS, ast.Lambda)):
            scope.learn_parameters(root.args)
        inner = [node for node in scope.nodes if isinstance(node, SCOPES)]
        if isinstance(root, ast.Module):
            # A function or class of the module is itself, whatever its name looks like.
            scope.kinds.update({node.name: None for node in inner if not isinstance(node, ast.Lambda)})
        if isinstance(root, ast.ClassDef):
            scope.kinds["self"] = next(
                (k for b in root.bases if (k := hook_kind(path_of(b, self.imports)))), None
            )
            for method in root.body:
                if isinstance(method, FUNCTIONS):
                    scope.learn_attributes(method)
        scope.learn()
        for node in inner:
            self._build(node, scope, root if isinstance(root, ast.ClassDef) else home)

    def _check_place(self, scope: Scope) -> None:
        for node, opening in scope.openings.items():
            if opening.kind in _OPENS - {Kind.CURSOR, Kind.UNIT} and not opening.is_own:
                message = f"this {opening.kind} is opened outside the one place for it"
                self.report(node, rules.OUTSIDE, message)

    def _has_something_to_follow(self, root: ast.AST, scope: Scope) -> bool:
        return (
            any(opening.kind in FOLLOWED for opening in scope.openings.values())
            or any(registry_used_by(node, scope) for node in scope.nodes)
            or (isinstance(root, FUNCTIONS) and "provide_session" in decorators_of(root, self.imports))
        )

    def _walk(
        self, root: ast.Module | Function, scope: Scope, waiting: frozenset[str], names: set[str]
    ) -> None:
        outer = {
            name
            for node in scope.nodes
            if isinstance(node, (ast.Global, ast.Nonlocal))
            for name in node.names
        }
        flow = Flow(
            Tracker(scope, self.report, waiting),
            yields_raise=isinstance(root, ast.Module) or not is_fixture(root, self.imports),
            outer_names=frozenset(outer),
        )
        exits = flow.block(root.body, self._entry(root))
        judge_exits(flow, exits, self.report, is_module=isinstance(root, ast.Module))
        judge_stored(flow, self.homes.get(root), names, self.report)
        if not isinstance(root, ast.Module):
            is_dependency = root.name in self.dependencies
            judge_keeping(flow, root, self.imports, self.report, is_dependency=is_dependency)
            judge_yields(flow, root, self.imports, self.report)

    def _entry(self, root: ast.Module | Function) -> State:
        """Give the state at the start: a decorator of Airflow's may have opened a session already."""
        if isinstance(root, ast.Module) or "provide_session" not in decorators_of(root, self.imports):
            return State()
        session = Resource(ast.Name("session"), OpeningCall(Kind.SESSION, "provide_session"), is_managed=True)
        return State().opened(session, is_busy=False).bound("session", frozenset({session}))
