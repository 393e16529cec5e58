"""Log lines: for people, or one JSON object a line for programs that collect them."""

from __future__ import annotations

import logging
import time

import msgspec

__all__ = ["JsonFormatter", "formatter_of"]


class JsonFormatter(logging.Formatter):
    """Makes of each record one JSON object on one line, whatever the message holds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; `time` is UTC with milliseconds."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, str | int] = {
            "time": f"{moment}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process or 0,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line).decode("utf-8")
        except UnicodeEncodeError:
            # A file's name need not be UTF-8; a line that is lost would be worse than an escape.
            escaped = {
                key: value.encode("utf-8", "backslashreplace").decode("utf-8")
                if isinstance(value, str)
                else value
                for key, value in line.items()
            }
            return msgspec.json.encode(escaped).decode("utf-8")


def formatter_of(log_format: str) -> logging.Formatter:
    """Return what makes lines in the format `text` or `json`."""
    if log_format == "json":
        return JsonFormatter()
    return logging.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
