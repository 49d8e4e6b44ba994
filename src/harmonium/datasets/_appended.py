"""An .npy file that grows row by row, since how many rows there will be is known at the end only."""

from __future__ import annotations

__all__ = ["Appended"]

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Appended:
    """Opens a new .npy file of bytes, to be used as a context; its head is right once that has ended.

    Arguments:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("xb", buffering=1 << 20)
        self.count = 0
        self.shape: tuple[int, ...] = ()

    def __enter__(self) -> Appended:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.seek(0)
        self._write_head()
        self.file.close()

    def add(self, row: NDArray[np.uint8]) -> None:
        """Write a row; all are of the shape of the first."""
        if not self.count:
            self.shape = row.shape
            self._write_head()
        self.file.write(row.tobytes())
        self.count += 1

    def _write_head(self) -> None:
        """Write the head, which NumPy pads so that its length does not depend on the number of rows."""
        head = {"descr": "|u1", "fortran_order": False, "shape": (self.count, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, head)
