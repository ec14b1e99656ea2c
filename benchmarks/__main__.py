"""Run the benchmark of position_sync, or the one that the first argument names."""

from __future__ import annotations

import sys

from benchmarks import verification_latency
from benchmarks.fault_matrix import measure as fault_matrix
from benchmarks.growth import measure as growth
from benchmarks.kills import measure as kills
from benchmarks.long_history import measure as long_history
from benchmarks.mutations import score as mutation_score
from benchmarks.pages import measure as pages
from benchmarks.peers import measure as peers
from benchmarks.position_sync import measure as position_sync
from benchmarks.races import measure as races
from benchmarks.sessions import leaks
from benchmarks.soak import measure as soak
from benchmarks.sync_scale import measure as sync_scale
from benchmarks.two_hosts import measure as two_hosts

if __name__ == "__main__":
    named = {
        "fault-matrix": fault_matrix.main,
        "growth": growth.main,
        "history": long_history.main,
        "kill-matrix": kills.main,
        "mutation-score": mutation_score.main,
        "pages": pages.main,
        "peers": peers.main,
        "races": races.main,
        "scale": sync_scale.main,
        "session-leaks": leaks.main,
        "soak": soak.main,
        "two-hosts": two_hosts.main,
        "verification-latency": verification_latency.main,
    }
    if sys.argv[1:] and sys.argv[1] in named:
        named[sys.argv[1]](sys.argv[2:])
    else:
        position_sync.main(sys.argv[1:])
