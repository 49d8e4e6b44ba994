"""Images from left to right, at presentation time: the coin of a row is addressed by (stream, epoch, row)."""

from __future__ import annotations

__all__ = ["flip"]

import torch
from torch import Tensor

from ..errors import DataError
from ..random import Stream


def flip(rows: Tensor, shape: tuple[int, ...], numbers: Tensor, stream: Stream, epoch: int) -> Tensor:
    """Return images of which about half, each by its own coin, are mirrored from left to right.

    Neither the batch that a row comes in, nor what else is in it, changes its coin.

    Arguments:
        rows: Images as rows, shape (rows, columns).
        shape: The shape of one: (height, width) or (channels, height, width).
        numbers: Their global row numbers, shape (rows).
        stream: Where the coins come from; it takes no step.
        epoch: Which presentation of the rows this is.

    Raises:
        DataError: Rows are no images of that shape.
    """
    if len(shape) not in (2, 3) or rows.shape != (len(numbers), torch.Size(shape).numel()):
        got = tuple(rows.shape)
        raise DataError(f"rows: got shape {got}, expected {len(numbers)} images of shape {shape}")
    mirrored = rows.view(-1, *shape).flip(-1).view_as(rows)
    heads = stream.uniform_at(epoch, numbers, 1) < 0.5
    return torch.where(heads.to(rows.device), mirrored, rows)
