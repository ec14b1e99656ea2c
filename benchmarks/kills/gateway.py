"""The exchange's front door: ``python -m benchmarks.kills.gateway PORT BEHIND [ADDRESS]``.

The simulator keeps its accounts in memory. What is killed as the exchange is this process before it: open
requests break off, new ones are refused, and the accounts behind it are as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await source.read(65_536):
            target.write(piece)
            await target.drain()
    target.close()


async def _serve(port: int, behind: int, address: str) -> None:
    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(address, behind)
        await asyncio.gather(_copy(reader, their_writer), _copy(their_reader, writer))

    server = await asyncio.start_server(pass_on, "0.0.0.0", port)  # noqa: S104 - in a room of its own
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), *(sys.argv[3:] or ["127.0.0.1"])))
