"""Logs go to standard error: text on a terminal, JSON lines otherwise."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

_PLAIN: Final = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


def _values(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


def _on_one_line(value: object) -> str:
    """Show a value so that no name of a job or file can begin a line of its own or steer the terminal."""
    text = str(value)
    return text if text.isprintable() else repr(text)


class TextFormatter(logging.Formatter):
    """One line a person reads: time, level, message, values."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        time = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        values = "  ".join(f"{name}={_on_one_line(value)}" for name, value in _values(record).items())
        line = f"{time} {record.levelname.lower():7} {record.getMessage()}"
        if values:
            line += f"  {values}"
        return line + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class JsonFormatter(logging.Formatter):
    """One line a program reads."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": time,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields = {**fields, **{name: str(value) for name, value in _values(record).items()}, **fields}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def set_up_logging(*, verbose: bool = False) -> None:
    """Send logs to standard error in the form that fits it.

    Args:
        verbose: Debug messages too.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TextFormatter() if sys.stderr.isatty() else JsonFormatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
