"""What stands beside samples in a table: rows of the data, of no model at all, and centroids."""

from __future__ import annotations

__all__ = ["centroids", "independent", "some"]

import torch
from torch import Tensor

from ..random import Stream

BLOCK = 500
ROUNDS = 3


def some(rows: Tensor, n: int, stream: Stream) -> Tensor:
    """Return n of the rows, no row twice."""
    return rows[stream.permutation(len(rows))[:n]]


def independent(rows: Tensor, n: int, stream: Stream) -> Tensor:
    """Return n rows whose columns are drawn independently of each other, each from its own values.

    Arguments:
        rows: Shape (rows, columns).
        n: How many to draw.
        stream: Where from; it takes a step for each block.
    """
    columns = torch.arange(rows.shape[1])
    parts = []
    for start in range(0, n, BLOCK):
        u = stream.uniform(min(BLOCK, n - start), len(columns), torch.float64)
        parts.append(rows[(u * len(rows)).long(), columns])
    return torch.cat(parts)


def centroids(rows: Tensor, n: int, stream: Stream) -> Tensor:
    """Return n centroids of rows after a few rounds of k-means, shape (n, columns), float32.

    Arguments:
        rows: In numbers, shape (rows, columns).
        n: How many.
        stream: Draws the rows that they start from.
    """
    centres = some(rows, n, stream).float()
    for _ in range(ROUNDS):
        sums, counts = torch.zeros_like(centres), torch.zeros(len(centres))
        norms = centres.square().sum(1)
        for block in rows.split(BLOCK):
            values = block.float()
            nearest = torch.addmm(norms, values, centres.T, alpha=-2).argmin(1)
            sums.index_add_(0, nearest, values)
            counts += torch.bincount(nearest, minlength=len(centres))
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres
