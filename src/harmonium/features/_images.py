"""Rows of a data set as images for a net: kept as they are stored, and numbers in [0, 1] block by block."""

from __future__ import annotations

__all__ = ["Images", "images_of", "rows_as_images", "suits_nets", "training_images", "white"]

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..datasets import Dataset
from ..errors import DataError

BLOCK = 500
BYTE = 255
MOST = 4
"""Channels of an image."""
LEAST = 8
"""Pixels of a side."""


@dataclass(frozen=True)
class Images:
    """Rows that are images.

    Arguments:
        rows: Of any type, shape (rows, channels * height * width).
        shape: (channels, height, width).
        white: The value that becomes 1.
    """

    rows: Tensor
    shape: tuple[int, int, int]
    white: float

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: Tensor | slice) -> Tensor:
        """Return some images as numbers in [0, 1], shape (images, channels, height, width)."""
        return (self.rows[which].float() / self.white).view(-1, *self.shape)

    @torch.no_grad()
    def map(self, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what a function makes of all images, block by block."""
        blocks = range(0, len(self), BLOCK)
        return torch.cat([function(self.take(slice(start, start + BLOCK))) for start in blocks])


def images_of(data: Dataset, split: str, rows: int | None = None) -> Images:
    """Return the rows of a split that are ready to be scored, without their labels.

    Arguments:
        data: The data set.
        split: ``train``, ``validation`` or ``test``.
        rows: At most how many, from the first on; all by default.

    Raises:
        DataError: They are no images.
    """
    return rows_as_images(data, data.fixed(split, rows)[:, : data.columns])


def rows_as_images(data: Dataset, rows: Tensor) -> Images:
    """Return rows that have the values of those to be scored as images.

    Arguments:
        data: The data set that they are of, or are like.
        rows: Shape (rows, columns).

    Raises:
        DataError: Rows of the data set are no images.
    """
    return Images(rows, _shape(data), white(data))


def training_images(data: Dataset) -> Images:
    """Return the training rows as they would be scored; grey levels that are means are not copied.

    Raises:
        DataError: They are no images.
    """
    if data.binarisation != "none" or data.levels is None:
        return images_of(data, "train")
    return Images(data.train[:, : data.columns], _shape(data), data.levels)


def white(data: Dataset) -> float:
    """Return the value of a white pixel, in rows that are ready to be scored: of wide integers the most."""
    if data.kind != "integers":
        return 1
    return BYTE if data.train.dtype == torch.uint8 else max(1, int(data.train[:, : data.columns].max()))


def suits_nets(data: Dataset) -> bool:
    """Return whether rows are images of one to four channels, of sides that nets can halve three times."""
    match data.shape:
        case (height, width):
            return min(height, width) >= LEAST
        case (channels, height, width):
            return channels <= MOST and min(height, width) >= LEAST
    return False


def _shape(data: Dataset) -> tuple[int, int, int]:
    match data.shape:
        case (int(height), int(width)):
            return 1, height, width
        case (int(channels), int(height), int(width)):
            return channels, height, width
    raise DataError(f"data: got rows of shape {data.shape} in {data.name}, expected images")
