"""The log of a run: one JSON object a line, synced line by line."""

from __future__ import annotations

__all__ = ["Log"]

import json
import math
import os
from pathlib import Path
from typing import Any

from ..errors import FileError


class Log:
    """Creates the writer of ``metrics.jsonl``.

    Arguments:
        path: The file; none keeps records in memory only.
        size: Bytes to keep of what is there: lines after a checkpoint, and a torn last line, go.

    Raises:
        FileError: A line that is kept is no record.
    """

    def __init__(self, path: Path | None, size: int = 0) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        if path is None:
            return
        path.touch()
        whole = path.read_bytes()[:size].rfind(b"\n") + 1
        self.records = read(path, whole)
        os.truncate(path, whole)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; of numbers that are not finite, JSON holds null."""
        record = _finite(record)
        self.records.append(record)
        if self.path is None:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            os.fsync(file.fileno())

    @property
    def size(self) -> int:
        """How many bytes are written."""
        return 0 if self.path is None else self.path.stat().st_size


def read(path: Path, size: int | None = None) -> list[dict[str, Any]]:
    """Return the records in the first ``size`` bytes of a log, without a torn last line.

    Raises:
        FileError: A line is no record.
    """
    *lines, _ = path.read_bytes()[:size].split(b"\n")
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FileError(f"{path}: line {number} is damaged, expected JSON ({error})") from error
        if not isinstance(record, dict):
            raise FileError(f"{path}: line {number} is damaged, expected a JSON object")
        records.append(record)
    return records


def _finite(value: Any) -> Any:
    """Replace numbers that JSON cannot hold by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
