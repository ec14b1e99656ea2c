"""Run the benchmark of position_sync; ``mutation-score`` as first argument: that of the reconciler."""

from __future__ import annotations

import sys

from benchmarks import mutation_score, position_sync

if __name__ == "__main__":
    if sys.argv[1:2] == ["mutation-score"]:
        mutation_score.main(sys.argv[2:])
    else:
        position_sync.main()
