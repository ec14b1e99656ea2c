"""What programs write to standard error: a line per message, whatever the message quotes."""

from __future__ import annotations

import logging
import sys

from kraken_recon.plain_text import as_line


class LineFormatter(logging.Formatter):
    """Write each message as one line; a traceback follows indented: no line of it looks like one."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Write the line."""
        return as_line(super().formatMessage(record))

    def formatException(self, ei: logging._SysExcInfoType) -> str:  # noqa: N802 - the library's names
        """Write the traceback."""
        return "\n".join(f"  {as_line(line)}" for line in super().formatException(ei).splitlines())


def log_to_stderr(level: int) -> None:
    """Log from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
