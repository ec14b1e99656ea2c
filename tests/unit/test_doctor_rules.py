"""What the doctor makes of disks: of their size, of their share, and of the number of files."""

from __future__ import annotations

import pytest

from kraken_recon.doctor.rules.diagnosis import Health
from kraken_recon.doctor.rules.installation import GIB, diagnose_folders
from kraken_recon.doctor.rules.readings import Folder


@pytest.mark.parametrize(
    ("free_bytes", "total_bytes", "free_files", "health"),
    [
        (GIB // 2, 100 * GIB, 1_000, Health.WRONG),
        (4 * GIB, 100 * GIB, 1_000, Health.WARNING),
        (50 * GIB, 100 * GIB, 1_000, Health.OK),
        # One per cent of a large disk is much; half of a small one is meant so.
        (40 * GIB, 4_000 * GIB, 1_000, Health.OK),
        (GIB // 2, GIB, 1_000, Health.OK),
        (50 * GIB, 100 * GIB, 10, Health.WRONG),
    ],
)
def test_a_disk_is_judged_by_share_and_by_size(
    free_bytes: int, total_bytes: int, free_files: int, health: Health
) -> None:
    folder = Folder(
        "/var/log",
        "logs",
        free_bytes=free_bytes,
        total_bytes=total_bytes,
        free_files=free_files,
        total_files=1_000,
    )
    [found] = diagnose_folders([folder])
    assert found.health is health
    assert health is Health.OK or "/var/log" in found.remedy
