"""What goes wrong between the product and the exchange, or with a clock; a simulator cannot do that itself.

A front listens on a port of its own, spoils what it has to, and hands the rest on to the simulator.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.fault_matrix.fault import Fault
from kraken_recon.kraken import http_connections

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.fault_matrix.lane import Lane

HOST: Final = "127.0.0.1"
DAY: Final = dt.timedelta(days=1)
CHUNK_BYTES: Final = 65_536
HANDSHAKE_BYTE: Final = 0x16
#: No name server knows it, by RFC 6761.
NOWHERE: Final = "kraken.invalid"
CERTIFICATES: Final = ("good", "expired", "not_yet_valid", "wrong_host", "self_signed")


@dataclass
class Authority:
    """Who signs the certificates that are good but for one thing; made once for a process."""

    place: Path
    key: ec.EllipticCurvePrivateKey = field(init=False)
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _signed(_name("authority of the matrix"), self.key, self, is_authority=True)
        self.bundle.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    @property
    def bundle(self) -> Path:
        """The file of what is trusted."""
        return self.place / "authorities.pem"

    def context(self, kind: str) -> ssl.SSLContext:
        """Make a certificate of a kind, and what serves it."""
        key = ec.generate_private_key(ec.SECP256R1())
        begins, ends = {"expired": (-9, -1), "not_yet_valid": (1, 9)}.get(kind, (-1, 9))
        now = dt.datetime.now(dt.UTC)
        certificate = _signed(
            _name("the exchange"),
            key,
            None if kind == "self_signed" else self,
            host="192.0.2.1" if kind == "wrong_host" else HOST,
            valid=(now + begins * DAY, now + ends * DAY),
        )
        file = self.place / f"{kind}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(  # noqa: PLR0913 - the parts of a certificate
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: Authority | None,
    *,
    host: str = "",
    valid: tuple[dt.datetime, dt.datetime] | None = None,
    is_authority: bool = False,
) -> x509.Certificate:
    begins, ends = valid or (dt.datetime.now(dt.UTC) - DAY, dt.datetime.now(dt.UTC) + 9 * DAY)
    is_own = by is None or is_authority
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if is_own else by.certificate.subject)  # type: ignore[union-attr]
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if host:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(key if is_own else by.key, hashes.SHA256())  # type: ignore[union-attr]


class Front:
    """A port that leads to the simulator, or nowhere."""

    def __init__(self, kind: str, target: int, context: ssl.SSLContext | None) -> None:
        self._kind, self._target, self._context = kind, target, context
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self.met = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A plain close would leave the thread in its call.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self.met += 1
                threading.Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with suppress(OSError), line:
            match self._kind:
                case "handshake_cut":
                    line.recv(CHUNK_BYTES)
                    line.sendall(bytes([HANDSHAKE_BYTE, 3, 3, 1]))
                case "handshake_silent":
                    while line.recv(CHUNK_BYTES):
                        pass
                case "not_tls":
                    line.recv(CHUNK_BYTES)
                    line.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                case "closed":
                    pass
                case "stranger":
                    line.recv(CHUNK_BYTES)
                    line.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Type: text/html\r\n\r\n"
                        b"<p>Hello</p>"
                    )
                case _:
                    assert self._context is not None
                    with self._context.wrap_socket(line, server_side=True) as safe:
                        self._hand_on(safe)

    def _hand_on(self, line: socket.socket) -> None:
        with socket.create_connection((HOST, self._target)) as target:
            back = threading.Thread(target=_copy, args=(target, line), daemon=True)
            back.start()
            _copy(line, target)
            back.join()


def _copy(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(CHUNK_BYTES):
            to.sendall(part)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)


@dataclass
class Line:
    """The way from one lane to its simulator, while it is spoiled."""

    lane: Lane
    front: Front | None = None

    def spoil(self, kind: str, options: dict[str, Any]) -> None:
        """Lead the product astray, or set its clock wrong."""
        target = int(self.lane.simulator_url.rpartition(":")[2])
        match kind:
            case "clock":
                self.lane.clock_error = dt.timedelta(seconds=float(options["seconds"]))
            case "dns":
                self.lane.exchange_url = f"https://{NOWHERE}"
            case "refused":
                with socket.create_server((HOST, 0)) as closed:
                    self.lane.exchange_url = f"http://{HOST}:{closed.getsockname()[1]}"
            case _:
                context = authority().context(kind) if kind in CERTIFICATES else None
                self.front = Front(kind, target, context)
                scheme = "http" if options.get("plain") else "https"
                self.lane.exchange_url = f"{scheme}://{HOST}:{self.front.port}"

    def mend(self) -> int:
        """Take back what was spoiled, and tell how often it was met; where nobody can count, once."""
        met = self.front.met if self.front else 1
        if self.front:
            self.front.__exit__()
        self.front = None
        self.lane.clock_error = dt.timedelta(0)
        self.lane.exchange_url = self.lane.simulator_url
        return met


_AUTHORITIES: Final[list[Authority]] = []


def authority() -> Authority:
    """Make this process trust an authority of its own, once; the product's connections know no other."""
    if not _AUTHORITIES:
        made = Authority(Path(tempfile.mkdtemp(prefix="fault-matrix-")))
        http_connections.CERTIFICATES = str(made.bundle)  # type: ignore[misc]
        http_connections._pools.clear()  # noqa: SLF001 - connections that know the old ones
        _AUTHORITIES.append(made)
    return _AUTHORITIES[0]


def spoiled() -> Iterator[Fault]:
    """List the rows about lines and clocks."""
    for kind in (*CERTIFICATES, "handshake_cut", "handshake_silent", "not_tls"):
        yield Fault(f"tls {kind}", kind, group="TLS", where="line")
    for kind in ("closed", "stranger"):
        yield Fault(f"line {kind}", kind, {"plain": True}, "Names and lines", where="line")
    yield Fault("line refused", "refused", group="Names and lines", where="line")
    yield Fault("dns fails", "dns", group="Names and lines", where="line")
    yield Fault("dns leads elsewhere", "wrong_host", group="Names and lines", where="line")
    for seconds in (-86_400, -3_600, -300, -30, 30, 300, 3_600, 86_400):
        yield Fault(
            f"clock {seconds:+d} s",
            "clock",
            {"seconds": seconds},
            "Our clock beside the exchange's",
            where="line",
        )
