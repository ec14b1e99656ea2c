"""Run the benchmark of position_sync, or the one that the first argument names."""

from __future__ import annotations

import sys

from benchmarks import long_history, mutation_score, position_sync

if __name__ == "__main__":
    if sys.argv[1:2] == ["mutation-score"]:
        mutation_score.main(sys.argv[2:])
    elif sys.argv[1:2] == ["history"]:
        long_history.main(sys.argv[2:])
    else:
        position_sync.main()
