"""Run the benchmark of position_sync, or the one that the first argument names."""

from __future__ import annotations

import sys

from benchmarks import mutation_score, position_sync, verification_latency

if __name__ == "__main__":
    if sys.argv[1:2] == ["mutation-score"]:
        mutation_score.main(sys.argv[2:])
    elif sys.argv[1:2] == ["verification-latency"]:
        verification_latency.main(sys.argv[2:])
    else:
        position_sync.main()
