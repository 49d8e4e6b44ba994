"""Arrays that are in memory while they are small, and beyond that in a file without a name.

The file is in the folder of the cache, or in that of temporary files where the usual cache cannot be written.
It is gone once the array is, or the process, however it ends. It is mapped, so that the system holds as much
of it in memory as there is room for.
"""

from __future__ import annotations

__all__ = ["Store", "spare"]

import math
import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import FileError
from ._download import cache_folder

LIMIT = 1 << 28
"""The most bytes of an array, or of what is stored, that are in memory."""
_OWN = 200
"""Bytes that a block in memory takes besides its numbers."""
_PART = 1 << 20

Floats = NDArray[np.float64]


def spare(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Return a new array, whose values are yet to be written.

    Raises:
        FileError: The file cannot be made, or the disk has no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= LIMIT:
        return np.empty(shape, dtype)
    file, folder = _nameless(size)
    with file:
        try:
            _reserve(file, size)
        except OSError as error:
            raise _full(folder, size, error) from error
        return np.memmap(file, dtype, "r+", shape=tuple(shape)).view(np.ndarray)


class _Placed(NamedTuple):
    """The blocks of one column: some, and where the others begin in the file and how long they are."""

    first: list[Floats]
    starts: array[int]
    counts: array[int]


class Store:
    """Creates a store of the numbers of columns, block by block, to be used as a context."""

    def __init__(self) -> None:
        self.room = LIMIT
        self.file: IO[bytes] | None = None
        self.folder = Path()
        self.size = 0
        self.columns: dict[str, _Placed] = {}

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            # What a full disk had no room for would be written once more.
            with suppress(OSError):
                self.file.close()

    def put(self, name: str, block: Floats) -> None:
        """Store the next block of a column.

        Raises:
            FileError: The file cannot be made, or the disk has no room for it.
        """
        placed = self.columns.setdefault(name, _Placed([], array("q"), array("q")))
        if self.file is None and block.nbytes + _OWN <= self.room:
            self.room -= block.nbytes + _OWN
            placed.first.append(block)
            return
        if self.file is None:
            self.file, self.folder = _nameless(block.nbytes)
        try:
            self.file.seek(self.size)
            self.file.write(block.tobytes())
            self.file.flush()
        except OSError as error:
            raise _full(self.folder, self.size + block.nbytes, error) from error
        placed.starts.append(self.size)
        placed.counts.append(len(block))
        self.size += block.nbytes

    def drop(self, name: str) -> None:
        """Forget a column."""
        placed = self.columns.pop(name, None)
        self.room += 0 if placed is None else sum(block.nbytes + _OWN for block in placed.first)

    def blocks(self, name: str) -> Iterator[Floats]:
        """Yield the blocks of a column."""
        placed = self.columns.get(name)
        if placed is None:
            return
        yield from placed.first
        for start, count in zip(placed.starts, placed.counts, strict=True):
            assert self.file is not None
            self.file.seek(start)
            yield np.frombuffer(self.file.read(8 * count))


def _nameless(size: int) -> tuple[IO[bytes], Path]:
    """Open a file without a name that is to have so many bytes, and return the folder that it is in."""
    folder = cache_folder()
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=folder), folder
        except OSError:
            if os.environ.get("HARMONIUM_CACHE"):
                raise
            folder = Path(tempfile.gettempdir())
            return tempfile.TemporaryFile(dir=folder), folder
    except OSError as error:
        raise _full(folder, size, error) from error


def _reserve(file: IO[bytes], size: int) -> None:
    """Take room on the disk: a file with holes would end the process where there turns out to be none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for first in range(0, size, _PART):
        file.write(bytes(min(_PART, size - first)))
    file.flush()


def _full(folder: Path, size: int, error: OSError) -> FileError:
    return FileError(
        f"{folder}: {error.strerror or error}; expected room for {size:,} bytes of a table that is too large "
        "for memory: $HARMONIUM_CACHE names another folder"
    )
