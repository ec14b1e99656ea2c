"""Run the benchmark of position_sync; ``mutation-score``, ``session-leaks`` or ``session-soak``: those."""

from __future__ import annotations

import sys

from benchmarks import mutation_score, position_sync, session_leaks, session_soak

if __name__ == "__main__":
    if sys.argv[1:2] == ["mutation-score"]:
        mutation_score.main(sys.argv[2:])
    elif sys.argv[1:2] == ["session-leaks"]:
        session_leaks.main(sys.argv[2:])
    elif sys.argv[1:2] == ["session-soak"]:
        session_soak.main(sys.argv[2:])
    else:
        position_sync.main()
