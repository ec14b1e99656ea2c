"""Every job of the matrix, by the name of its DAG or command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.fault_matrix.auditing import Auditing
from benchmarks.fault_matrix.booking import Booking
from benchmarks.fault_matrix.deciding import Approving
from benchmarks.fault_matrix.importing import Importing
from benchmarks.fault_matrix.maintaining import Maintaining
from benchmarks.fault_matrix.ordering import Executing, Verifying
from benchmarks.fault_matrix.syncing import Syncing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.fault_matrix.scene import Scene

JOBS: Final[Mapping[str, type[Scene]]] = {
    scene.job: scene
    for scene in (Syncing, Executing, Verifying, Approving, Maintaining, Booking, Importing, Auditing)
}
