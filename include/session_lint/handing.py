"""What the functions of a module do with sessions for their callers: hand them out, or take them over.

Only functions of the same module are known; a decorator may change what a call gives, so a function with one
of unknown meaning hands out nothing.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from session_lint.imported_names import FUNCTIONS, Function, assigned_by, decorators_of, last_name, path_of
from session_lint.kinds import Kind, OpeningCall
from session_lint.vocabulary import CACHES, CLOSERS, SESSION_USES, TAKERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from session_lint.what_opens_a_session import Scope

_HANDED: Final = frozenset({Kind.SESSION, Kind.CONNECTION})
_MAKERS: Final = frozenset({Kind.FACTORY, Kind.REGISTRY})
_SAME_CALL: Final = frozenset({"staticmethod", "classmethod", "override"})
_CONTEXT_MAKERS: Final = frozenset({"contextmanager", "asynccontextmanager"})


def name_of(function: Function) -> str:
    """Name a function as its callers in the module do: ``name`` or ``self.name``."""
    first = function.args.args[0].arg if function.args.args else ""
    return f"self.{function.name}" if first in {"self", "cls"} else function.name


def handed_out(scopes: dict[ast.AST, Scope]) -> dict[str, OpeningCall]:
    """Tell what a call of each function opens for its caller; functions that share a name have to agree."""
    found: dict[str, OpeningCall | None] = {}
    for root, scope in scopes.items():
        if isinstance(root, FUNCTIONS):
            name, given = name_of(root), _given_by(root, scope)
            found[name] = given if name not in found or found[name] == given else None
    return {name: opening for name, opening in found.items() if opening is not None}


def _given_by(function: Function, scope: Scope) -> OpeningCall | None:
    decorators = set(decorators_of(function, scope.imports)) - _SAME_CALL
    is_context = bool(decorators) and decorators <= _CONTEXT_MAKERS
    if decorators and decorators <= CACHES:
        made = _returned(scope)
        return made if made is not None and made.kind in _MAKERS else None
    if decorators and not is_context:
        return None
    steps = [node for node in scope.nodes if isinstance(node, (ast.Yield, ast.YieldFrom))]
    if not steps:
        return _returned(scope)
    given = next((found for step in steps if (found := _yielded(step, scope))), None)
    if given is None:
        return None
    given = replace(given, is_own=True)
    if is_context:
        return replace(given, only_with=True, with_closes=True)
    return OpeningCall(Kind.GENERATOR, function.name, needs_closing=False, is_own=True, given=given)


def _yielded(step: ast.Yield | ast.YieldFrom, scope: Scope) -> OpeningCall | None:
    if step.value is None:
        return None
    opening = scope.opening_of(step.value)
    if isinstance(step, ast.YieldFrom):
        return opening.given if opening is not None else None
    if opening is None and isinstance(step.value, ast.Name):
        opening = _openings_by_name(scope, entered=True).get(step.value.id)
    return replace(opening, only_with=False) if opening is not None and opening.kind in _HANDED else None


def _returned(scope: Scope) -> OpeningCall | None:
    """Tell what every return gives, unless somebody else holds it too."""
    by_name = _openings_by_name(scope, entered=False)
    found: OpeningCall | None = None
    for node in scope.nodes:
        if not isinstance(node, ast.Return) or node.value is None or ast.unparse(node.value) == "None":
            continue
        opening = scope.opening_of(node.value)
        if opening is None and isinstance(node.value, ast.Name):
            opening = None if _is_held_elsewhere(node.value.id, scope) else by_name.get(node.value.id)
        if opening is None or opening.kind not in _HANDED | _MAKERS:
            return None
        found = found or opening
    return replace(found, is_own=True) if found is not None else None


def _openings_by_name(scope: Scope, *, entered: bool) -> dict[str, OpeningCall]:
    """Map local names to what they were opened as; ``entered`` counts what a with block or a loop opens."""
    found = {}
    for node in scope.nodes:
        assigned = assigned_by(node)
        if entered and isinstance(node, ast.withitem) and node.optional_vars is not None:
            assigned = [(node.optional_vars, _unwrapped(node.context_expr))]
        elif entered and isinstance(node, (ast.For, ast.AsyncFor)):
            generator = scope.opening_of(node.iter)
            if generator is not None and generator.given is not None and isinstance(node.target, ast.Name):
                found[node.target.id] = generator.given
        for target, value in assigned:
            opening = scope.opening_of(value)
            if opening is not None and isinstance(target, ast.Name):
                found[target.id] = opening
    return found


def _unwrapped(node: ast.expr) -> ast.expr:
    is_closing = isinstance(node, ast.Call) and last_name(path_of(node.func, {})) in {"closing", "aclosing"}
    return node.args[0] if is_closing and isinstance(node, ast.Call) and node.args else node


def _is_held_elsewhere(name: str, scope: Scope) -> bool:
    """Tell a session that an object, a container or a global holds too: its callers need not close it."""
    for node in scope.nodes:
        match node:
            case ast.Global(names=names) | ast.Nonlocal(names=names) if name in names:
                return True
            case ast.Assign(targets=targets, value=value):
                locals_set = {target.id for target in targets if isinstance(target, ast.Name)}
                if len(locals_set) < len(targets) and (name in locals_set or _mentions(value, name)):
                    return True
            case ast.Call() if last_name(path_of(node.func, {})) in TAKERS | {"setattr"}:
                if any(_mentions(argument, name) for _, argument in enumerate_arguments(node)):
                    return True
    return False


def taken_over(scopes: dict[ast.AST, Scope], module_names: set[str]) -> dict[str, frozenset[str | int]]:
    """Name the parameters, by position and name, that each function closes or keeps for its caller."""
    found: dict[str, frozenset[str | int]] = {}
    while True:
        before = dict(found)
        for root, scope in scopes.items():
            if isinstance(root, FUNCTIONS):
                name = name_of(root)
                found[name] = found.get(name, frozenset()) | _taken_by(root, scope, found, module_names)
        if found == before:
            return {name: taken for name, taken in found.items() if taken}


def _taken_by(
    function: Function, scope: Scope, known: dict[str, frozenset[str | int]], module_names: set[str]
) -> frozenset[str | int]:
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    possible = {*names, *(argument.arg for argument in function.args.kwonlyargs)}
    taken = set()
    for node in scope.nodes:
        taken |= possible & set(_taken_at(node, scope, known, module_names))
    return frozenset(taken | {position for position, name in enumerate(names) if name in taken})


def _taken_at(
    node: ast.AST, scope: Scope, known: dict[str, frozenset[str | int]], module_names: set[str]
) -> Iterator[str]:
    """Name the variables that one node closes or keeps."""
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if attribute in CLOSERS:
            yield name
        case ast.withitem(context_expr=expression):
            inner = _unwrapped(expression)
            if isinstance(inner, ast.Name):
                yield inner.id
        case ast.Assign(targets=targets, value=ast.Name(id=name)):
            if any(isinstance(target, ast.Attribute) for target in targets):
                yield name
        case ast.Call(func=function):
            path = path_of(function, scope.imports)
            is_kept = last_name(path) in TAKERS and path.split(".", 1)[0] not in module_names
            for key, value in enumerate_arguments(node):
                if isinstance(value, ast.Name) and (is_kept or key in known.get(path, ())):
                    yield value.id


def registry_used_by(node: ast.AST, scope: Scope) -> str:
    """Name the registry of sessions that a call uses as a session, unless somebody cleans it up."""
    path = _used_as_session(node, scope)
    is_registry = bool(path) and scope.parent is not None and scope.kind_of(path) is Kind.REGISTRY
    return path if is_registry and path not in scope.root.cleaned else ""


def _used_as_session(node: ast.AST, scope: Scope) -> str:
    match node:
        case ast.Call(func=ast.Attribute(value=receiver, attr=attribute)) if attribute in SESSION_USES:
            return path_of(receiver, scope.imports)
    return ""


def cleaned_registries(scopes: dict[ast.AST, Scope]) -> set[str]:
    """Name the registries that some function only cleans up, after the others have used them."""
    found = set()
    for scope in scopes.values():
        called = {node.func for node in scope.nodes if isinstance(node, ast.Call)}
        used = {_used_as_session(node, scope) for node in scope.nodes}
        for node in scope.nodes:
            if isinstance(node, ast.Attribute) and node.attr in {"remove", "close"}:
                path = path_of(node.value, scope.imports)
                if path not in used or node not in called:
                    found.add(path)
    return found


def enumerate_arguments(node: ast.Call) -> Iterator[tuple[str | int, ast.expr]]:
    """Give each argument of a call by its position or its name."""
    yield from enumerate(node.args)
    yield from ((keyword.arg or "", keyword.value) for keyword in node.keywords)


def _mentions(node: ast.AST, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))
