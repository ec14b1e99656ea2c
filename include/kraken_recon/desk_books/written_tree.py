"""YAML as a tree of text, with the line of everything in it.

An asset may be called ``ON`` and an account ``1``: no scalar is read as anything but text, save an unquoted
``null``. What YAML would silently resolve (a key given twice, an alias) is a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[str | int, ...]
_NULL: Final = "tag:yaml.org,2002:null"


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something that is wrong at one place of a file; the path may lead to what is not there."""

    path: Path
    what: str
    remedy: str
    line: int | None = None


@dataclass(slots=True)
class WrittenTree:
    """What a file says: mappings, lists, text and None; and on which line each of them begins."""

    content: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def line_of(self, path: Path) -> int:
        """Say where a path is written, or the nearest mapping around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def block(self, *path: str) -> Mapping[str, object]:
        """Get the mapping at a path; an empty one where there is none."""
        found = self.content
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}


def read_tree(text: str) -> WrittenTree:
    """Read the YAML of one file; whatever keeps it from being read is among the mistakes."""
    tree = WrittenTree()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        tree.mistakes.append(Mistake((), "it is nested too deeply", "Write it as in the guide."))
        return tree
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        line = mark.line + 1 if mark else 1
        tree.mistakes.append(Mistake((), f"this is no YAML: {what}", "Mend the file's YAML.", line))
        return tree
    if not isinstance(node, yaml.MappingNode):
        tree.mistakes.append(
            Mistake((), "expected `name: ...` and the other fields", "Write it as a mapping.")
        )
        return tree
    tree.content = _content(node, (), tree, set())
    return tree


def _content(node: yaml.Node, path: Path, tree: WrittenTree, seen: set[int]) -> object:
    line = node.start_mark.line + 1
    tree.lines.setdefault(path, line)
    if id(node) in seen:
        tree.mistakes.append(Mistake(path, "an alias (`*name`)", "Write the value out.", line))
        return None
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, tree, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_content(item, (*path, place), tree, seen) for place, item in enumerate(node.value)]
    is_quoted = isinstance(node, yaml.ScalarNode) and node.style
    return None if node.tag == _NULL and not is_quoted else str(node.value)


def _mapping(node: yaml.MappingNode, path: Path, tree: WrittenTree, seen: set[int]) -> dict[str, object]:
    content: dict[str, object] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            tree.mistakes.append(Mistake(path, "a name that is no text", "Write plain names.", line))
            continue
        place = (*path, str(key.value))
        if key.value in content:
            first = tree.lines[place]
            what = f"is given twice, first on line {first}"
            tree.mistakes.append(Mistake(place, what, "Keep one of them.", line))
            continue
        tree.lines[place] = line
        content[str(key.value)] = _content(value, place, tree, seen)
    return content
