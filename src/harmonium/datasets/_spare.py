"""Arrays that are in memory while they are small, and beyond that in a file without a name.

The file is in the folder of the cache, and is gone once the array is, or the process, however it ends. It is
mapped, so that the system holds as much of it in memory as there is room for.
"""

from __future__ import annotations

__all__ = ["Store", "spare"]

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import FileError
from ._download import cache_folder

LIMIT = 1 << 28
"""The most bytes of an array, or of what is stored, that are in memory."""

Floats = NDArray[np.float64]
Kept = Floats | tuple[int, int]
"""Numbers that are stored: themselves, or where they begin in the file and how many there are."""


def spare(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Return a new array, whose values are yet to be written.

    Raises:
        FileError: The file cannot be made, or the disk has no room for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= LIMIT:
        return np.empty(shape, dtype)
    with _nameless() as file, _told(size):
        # A file with holes would end the process where the disk turns out to be full.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.memmap(file, dtype, "r+", shape=tuple(shape)).view(np.ndarray)


class Store:
    """Creates a store of blocks of numbers, to be used as a context."""

    def __init__(self) -> None:
        self.room = LIMIT
        self.file: IO[bytes] | None = None
        self.size = 0

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.close()

    def put(self, block: Floats) -> Kept:
        """Store a block, and return what :meth:`get` takes.

        Raises:
            FileError: The file cannot be made, or the disk has no room for it.
        """
        if block.nbytes <= self.room:
            self.room -= block.nbytes
            return block
        first, self.size = self.size, self.size + block.nbytes
        self.file = self.file or _nameless()
        with _told(self.size):
            self.file.seek(first)
            self.file.write(block.tobytes())
            self.file.flush()
        return first, len(block)

    def get(self, kept: Kept) -> Floats:
        """Return a block that was stored."""
        if isinstance(kept, np.ndarray):
            return kept
        assert self.file is not None
        first, count = kept
        self.file.seek(first)
        return np.frombuffer(self.file.read(8 * count))


def _nameless() -> IO[bytes]:
    with _told(0):
        cache_folder().mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=cache_folder())


@contextmanager
def _told(size: int) -> Iterator[None]:
    """Tell of a file that cannot be made or written."""
    try:
        yield
    except OSError as error:
        raise FileError(
            f"{cache_folder()}: {error.strerror or error}; expected a folder with room for {size:,} bytes of "
            "a table that is too large for memory: $HARMONIUM_CACHE names another one"
        ) from error
