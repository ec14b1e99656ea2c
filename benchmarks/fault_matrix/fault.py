"""A row of the matrix."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the matrix: what is set, and where.

    Attributes:
        name: as it is told on the page and taken by ``--only``.
        kind: the fault's own name; what several rows are about has one.
        options: what the simulator is told, ``endpoint`` and ``count`` among them.
        group: under which heading it stands.
        jobs: who may meet it; empty for all.
        planted: whether it is set before the job has its work, and what is wrong stays.
        is_paged: whether it takes a history of several pages.
        lie: why it is believed by contract, where it is; what is wrong then is no defect.
        where: what is told of it: the ``simulator``, the ``line`` to it, or the scene's own ``input``.
    """

    name: str
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    jobs: tuple[str, ...] = ()
    planted: bool = False
    is_paged: bool = False
    where: str = "simulator"
    lie: str = ""

    @property
    def row(self) -> str:
        """Name the line of the page that it stands in: its own, or that of its field."""
        return self.name.rpartition(" ")[0] if "how" in self.options else self.name

    @property
    def group_class(self) -> str:
        """Name what the group is one of, of which a short run draws one."""
        return self.group.partition(" of ")[0]

    @property
    def endpoint(self) -> str:
        """The endpoint that it strikes; empty for any."""
        return str(self.options.get("endpoint", ""))
