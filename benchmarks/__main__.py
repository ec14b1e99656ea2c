"""Run the benchmark of position_sync, or the one that the first argument names."""

from __future__ import annotations

import sys

from benchmarks import (
    long_history,
    mutation_score,
    pages,
    position_sync,
    session_leaks,
    session_soak,
    verification_latency,
)

if __name__ == "__main__":
    named = {
        "history": long_history.main,
        "mutation-score": mutation_score.main,
        "pages": pages.main,
        "session-leaks": session_leaks.main,
        "session-soak": session_soak.main,
        "verification-latency": verification_latency.main,
    }
    if sys.argv[1:] and sys.argv[1] in named:
        named[sys.argv[1]](sys.argv[2:])
    else:
        position_sync.main()
