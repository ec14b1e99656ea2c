"""Parse the made ledger with ccxt, in an environment of its own: ``ccxt_ledger.py parse FILLS REPLIES``.

It is what `fetch_ledger` does with an answer: `parse_json`, ids into the rows, `parse_ledger`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import ccxt


def rows_of(decoded: dict[str, Any]) -> list[dict[str, Any]]:
    """Take the rows out of an answer, each with its id."""
    return [{**row, "id": ledger_id} for ledger_id, row in decoded["result"]["ledger"].items()]


def main() -> None:
    """Measure, and print one line of JSON."""
    bodies = Path(sys.argv[3]).read_bytes().splitlines()
    kraken = ccxt.kraken()
    began = time.process_time()
    rows = sum(len(kraken.parse_ledger(rows_of(kraken.parse_json(body.decode())))) for body in bodies)
    from_bytes = time.process_time() - began
    objects = [rows_of(kraken.parse_json(body.decode())) for body in bodies]
    began = time.process_time()
    for listed in objects:
        kraken.parse_ledger(listed)
    print(json.dumps({"rows": rows, "from_bytes": from_bytes, "from_objects": time.process_time() - began}))


if __name__ == "__main__":
    main()
