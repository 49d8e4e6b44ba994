"""The log of a run: one JSON object a line, synced line by line."""

from __future__ import annotations

__all__ = ["Log"]

import json
import math
import os
from pathlib import Path
from typing import Any


class Log:
    """Creates the writer of ``metrics.jsonl``.

    Arguments:
        path: The file; none keeps records in memory only.
        size: Bytes to keep of what is there: lines after a checkpoint, and a torn last line, go.
    """

    def __init__(self, path: Path | None, size: int = 0) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        if path is None:
            return
        path.touch()
        os.truncate(path, min(size, path.stat().st_size))
        self.records = read(path)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record."""
        self.records.append(record)
        if self.path is None:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(_finite(record)) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def size(self) -> int:
        """How many bytes are written."""
        return 0 if self.path is None else self.path.stat().st_size


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a log, without a torn last line."""
    *lines, _ = path.read_text().split("\n")
    return [json.loads(line) for line in lines]


def _finite(value: Any) -> Any:
    """Replace numbers that JSON cannot hold by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
