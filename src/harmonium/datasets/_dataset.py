r"""The data set itself, and the three ways in which grey values become states.

A grey value :math:`g` of :math:`L` levels stands for the mean :math:`\mu = g / L`. Of it,
``sampled`` draws :math:`x = [u < \mu]`, afresh at each presentation and once for scoring;
``threshold`` takes :math:`x = [\mu \ge 1/2]`; ``none`` uses :math:`\mu` itself. The sample for
scoring is addressed by (seed, split, row, column), so that the first rows are the same however
many are asked for.
"""

from __future__ import annotations

__all__ = ["BINARISATIONS", "Dataset", "score", "summary"]

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import choose, invalid
from ..random import Stream

BLOCK = 512

BINARISATIONS: dict[str, Callable[[Tensor, Stream], Tensor]] = {
    "sampled": lambda means, stream: stream.uniform(*means.shape) < means,
    "threshold": lambda means, stream: means >= 0.5,
    "none": lambda means, stream: means,
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from and rows to be scored, all of shape (rows, columns).

    Arguments:
        name: The name in ``DATASETS``, or the file's.
        train: Bits or grey levels (uint8), integer codes (uint8, else the smallest of int16, int32
            and int64), or reals and means (float32).
        validation: Rows ready to be scored: states, or means (float32) for ``none``.
        test: Rows ready to be scored, likewise.
        labels: The int64 labels of each split that has some, shape (rows).
        shape: The shape of one row.
        binarisation: How grey values become states; None where rows are states already.
        levels: The grey level that means 1 while ``train`` holds grey levels, 1 while it holds
            means; None where it holds states.
        source: Where the rows came from, and their licence where it is known.
        seed: The seed of the split and of the fixed binary sample.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    labels: dict[str, Tensor]
    shape: tuple[int, ...]
    binarisation: str | None
    levels: int | None
    source: str
    seed: int = 0

    @property
    def kind(self) -> str:
        """What ``train`` holds: bits, integers, reals, grey levels, or means."""
        if self.levels is not None:
            return "means" if self.levels == 1 else "grey levels"
        if self.train.is_floating_point():
            return "reals"
        return "bits" if all(map(_is_bits, self._splits().values())) else "integers"

    def fixed(self, split: str = "train", rows: int | None = None) -> Tensor:
        """Return rows that are ready to be scored: states, or means for ``none``.

        Grey training rows that are ``sampled`` give one binary sample, the same at each call.

        Arguments:
            split: ``train``, ``validation`` or ``test``.
            rows: At most how many rows, from the first on; all by default.

        Raises:
            ArgumentError: There is no such split, or ``rows`` is no count.
        """
        values: Tensor = choose("split", split, self._splits())
        if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int) or rows < 0):
            raise invalid("rows", rows, "a count or None")
        if split != "train" or self.levels is None or self.binarisation is None:
            return values[:rows]
        return score(values[:rows], self.levels, self.binarisation, self.seed, split)

    def _splits(self) -> dict[str, Tensor]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def score(values: Tensor, levels: int, binarisation: str, seed: int, split: str) -> Tensor:
    """Turn grey values into rows that are ready to be scored, shape (rows, columns).

    Arguments:
        values: Grey values, shape (rows, columns).
        levels: The value that means 1.
        binarisation: A name in ``BINARISATIONS``.
        seed: The data set's seed.
        split: The name of the split, which has its own random bits.
    """
    rule = BINARISATIONS[binarisation]
    dtype = torch.float32 if binarisation == "none" else torch.uint8
    out = torch.empty(values.shape, dtype=dtype)
    for row in range(0, len(values), BLOCK):
        stream = Stream(seed, row=row).child("binarisation").child(split)
        out[row : row + BLOCK] = rule(values[row : row + BLOCK] / levels, stream)
    return out


def summary(dataset: Dataset) -> dict[str, object]:
    """Describe a data set by values that JSON can hold.

    ``baseline_log_likelihood`` is the mean log-likelihood of a test row in nats under independent
    bits with the training rows' base rates (Laplace's rule: one more 0 and one more 1): the floor
    that any model must clear. It is None unless the test rows are bits.
    """
    labels = {split: _counts(values) for split, values in dataset.labels.items()}
    return {
        "name": dataset.name,
        "rows": {split: len(rows) for split, rows in dataset._splits().items()},
        "shape": list(dataset.shape),
        "values": dataset.kind,
        "levels": dataset.levels,
        "binarisation": dataset.binarisation,
        "labels": labels,
        "source": dataset.source,
        "baseline_log_likelihood": _baseline(dataset),
    }


def _baseline(dataset: Dataset) -> float | None:
    """Return the mean test log-likelihood of independent bits, or None if there are none."""
    sampled = dataset.levels is not None and dataset.binarisation != "none"
    if len(dataset.test) == 0 or not (sampled or dataset.kind == "bits"):
        return None
    ones = _sum(dataset.train) / (dataset.levels or 1)
    rates = (ones + 1) / (len(dataset.train) + 2)
    frequencies = _sum(dataset.test) / len(dataset.test)
    terms = frequencies * rates.log() + (1 - frequencies) * (-rates).log1p()
    return terms.sum().item()


def _sum(rows: Tensor) -> Tensor:
    """Add the rows up in float64, block by block, shape (columns)."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for row in range(0, len(rows), BLOCK):
        total += rows[row : row + BLOCK].sum(0, dtype=torch.float64)
    return total


def _counts(labels: Tensor) -> dict[str, int]:
    """Count how often each label occurs."""
    values, counts = np.unique(labels.numpy(), return_counts=True)
    return {str(v): n for v, n in zip(values.tolist(), counts.tolist(), strict=True)}


def _is_bits(rows: Tensor) -> bool:
    return rows.dtype == torch.uint8 and (rows.numel() == 0 or int(rows.max()) <= 1)
