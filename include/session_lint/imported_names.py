"""What the names of a module stand for, as far as its imports tell."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.Lambda, ast.ClassDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def own_nodes(root: ast.AST) -> Iterator[ast.AST]:
    """Walk what belongs to a scope itself, in the order of the source, without the scopes inside it."""
    pending = list(reversed(_body(root)))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, SCOPES):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))


def _body(root: ast.AST) -> list[ast.AST]:
    if isinstance(root, ast.Lambda):
        return [root.body]
    if isinstance(root, (*FUNCTIONS, ast.ClassDef, ast.Module)):
        return list(root.body)
    return [root]


def imported_names(module: ast.Module) -> dict[str, str]:
    """Map each imported name, wherever in the module it is imported, to its full name."""
    names: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".", 1)[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            for alias in node.names:
                names[alias.asname or alias.name] = f"{source}.{alias.name}"
    return names


def path_of(node: ast.AST, imports: dict[str, str]) -> str:
    """Write names, attributes and calls as a path such as ``sqlalchemy.create_engine().connect``.

    Any other expression gives an empty path.
    """
    if isinstance(node, ast.Await):
        return path_of(node.value, imports)
    if isinstance(node, ast.Name):
        return imports.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = path_of(node.value, imports)
        return f"{base}.{node.attr}" if base else ""
    if isinstance(node, ast.Call):
        base = path_of(node.func, imports)
        return f"{base}()" if base else ""
    if isinstance(node, ast.Subscript):
        base = path_of(node.value, imports)
        return f"{base}[]" if base else ""
    return ""


def last_name(path: str) -> str:
    """Return the last component of a path, without leading underscores and call brackets."""
    return path.rsplit(".", 1)[-1].strip("_()[]")


def names_in(node: ast.AST) -> set[str]:
    """Name every variable in an expression, attributes of ``self`` by their dotted path."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            found.add(part.id)
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            found.add(f"{part.value.id}.{part.attr}")
    return found - {"self", "cls"}


def free_names(scope: ast.AST) -> set[str]:
    """Name what an inner function or class takes from outside; what it assigns itself, it does not."""
    parts = scope.body if isinstance(scope, (*FUNCTIONS, ast.ClassDef)) else [scope]
    names = set[str]().union(*(names_in(part) for part in parts))
    declared = {
        name
        for part in own_nodes(scope)
        if isinstance(part, (ast.Global, ast.Nonlocal))
        for name in part.names
    }
    own = {
        part.id for part in own_nodes(scope) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }
    if isinstance(scope, (*FUNCTIONS, ast.Lambda)):
        own |= {argument.arg for argument in ast.walk(scope.args) if isinstance(argument, ast.arg)}
    return names - (own - declared)


def assigned_by(node: ast.AST) -> list[tuple[ast.expr, ast.expr]]:
    """List the targets of an assignment, each with the value; nothing for any other node."""
    if isinstance(node, ast.Assign):
        return [(target, node.value) for target in node.targets]
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
        return [(node.target, node.value)]
    return []


def decorators_of(function: Function, imports: dict[str, str]) -> list[str]:
    """Return the decorators' last names."""
    return [last_name(path_of(decorator, imports)) for decorator in function.decorator_list]
