"""`python -m meshlib.lab.istiod discovery`: what the image istio/pilot stands for."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime

from meshlib.errors import MeshlibError
from meshlib.lab.istiod import process, settings


class Format(logging.Formatter):
    """istiod's own form of a line: time, level, scope, text, separated by tabs."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        level = {"WARNING": "warn"}.get(record.levelname, record.levelname.lower())
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"{at}\t{level}\t{record.name.removeprefix('istiod.')}\t{text}"


def main() -> int:
    """Run until told to stop; 1, with the reason on standard error, when istiod cannot start."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Format())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        asyncio.run(process.run(settings.read()))
    except MeshlibError as error:
        print(f"istiod: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
