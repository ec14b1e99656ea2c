"""Answers whose bytes are odd: far too many, packed, one at a time, or of another kind than they say."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Final

from fastapi import Response
from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import AsyncIterator, Iterator

    from kraken_sim.faults.named import Fault

JSON_TYPE: Final = "application/json; charset=utf-8"
MEGABYTE: Final = 1_000_000
PADDING: Final = b" " * 65_536
TRICKLE_SECONDS: Final = 0.05
#: How an answer begins of which one part never ends.
ENDLESS: Final = {
    "headers": b"X-Padding: ",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n1;padding=",
}
#: What is packed as Brotli, whose packers need a library: no reader here unpacks it, it only has to look so.
NOT_BROTLI: Final = bytes.fromhex("0b8b00")


def odd_body(fault: Fault, text: str, transport: Transport) -> Response:
    """Send an answer oddly."""
    match fault.name:
        case "huge_body":
            return StreamingResponse(_padded(fault, text), media_type=JSON_TYPE)
        case "compressed_bomb":
            encoding = str(fault.options.get("encoding", "gzip"))
            packed = _packed(encoding, _padded(fault, text))
            return StreamingResponse(packed, media_type=JSON_TYPE, headers={"Content-Encoding": encoding})
        case "trickle":
            seconds = float(fault.options.get("seconds", TRICKLE_SECONDS))
            if beginning := ENDLESS.get(str(fault.options.get("part"))):
                return Endless(transport, seconds, beginning)
            return StreamingResponse(_trickled(text, seconds), media_type=JSON_TYPE)
        case _:
            charset = str(fault.options.get("charset", "utf-8"))
            kind = str(fault.options.get("content_type", f"application/json; charset={charset}"))
            return Response(text.encode(charset), headers={"Content-Type": kind})


def _padded(fault: Fault, text: str) -> Iterator[bytes]:
    """Follow an answer with blanks, which JSON allows."""
    yield text.encode()
    for _ in range(int(fault.options.get("megabytes", 200)) * MEGABYTE // len(PADDING)):
        yield PADDING


def _packed(encoding: str, parts: Iterator[bytes]) -> Iterator[bytes]:
    """Pack what is sent, part by part."""
    if encoding == "br":
        yield NOT_BROTLI
        return
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | (16 if encoding == "gzip" else 0))
    for part in parts:
        if packed := packer.compress(part):
            yield packed
    yield packer.flush()


async def _trickled(text: str, seconds: float) -> AsyncIterator[bytes]:
    for byte in text.encode():
        await asyncio.sleep(seconds)
        yield bytes([byte])


class Endless(Response):
    """An answer of which the headers, or the line before its first chunk, never come to an end."""

    def __init__(self, transport: Transport, seconds: float, beginning: bytes) -> None:
        super().__init__()
        self._transport = transport
        self._seconds = seconds
        self._beginning = beginning

    async def __call__(self, *_: object) -> None:
        """Begin an answer past the server, and go on byte by byte."""
        self._transport.write(b"HTTP/1.1 200 OK\r\n" + self._beginning)
        while not self._transport.is_closing():
            self._transport.write(b"x")
            await asyncio.sleep(self._seconds)
