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
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, choose, invalid
from ..random import Stream
from ._schema import Schema
from ._transform import Transform

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
        shape: The shape of one row: (columns), (height, width), or (channels, height, width) in that order.
        binarisation: How grey values become states; None where rows are states already.
        levels: The grey level that means 1 while ``train`` holds grey levels, 1 while it holds
            means; None where it holds states.
        source: Where the rows came from, and their licence where it is known.
        seed: The seed of the split and of the fixed binary sample.
        classes: Where the last column of each row is the code of its label, the labels in the order of
            their codes; None where it is a column like the others.
        transform: The map that made the rows of reals in their own units; None where none was asked for. A
            log-likelihood of these rows plus its ``log_determinant`` is one of rows in their own units.
        label_names: What the labels 0, 1, ... are called, where that is known.
        flips: Whether training shows images mirrored half of the times.
        schema: What made the rows, float32 with NaN for gaps, of a table with columns of several types; None
            of all else.
        alphabet: The symbols of the codes 0, 1, ..., where rows are sequences.
        weights: The weights of the training rows in training, shape (rows); None where all are equal.
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
    classes: tuple[int, ...] | None = None
    transform: Transform | None = None
    label_names: tuple[str, ...] | None = None
    flips: bool = False
    schema: Schema | None = None
    alphabet: str | None = None
    weights: Tensor | None = None

    @property
    def columns(self) -> int:
        """The number of columns of a row, that of its label apart."""
        return self.train.shape[1] - (self.classes is not None)

    @property
    def kind(self) -> str:
        """What ``train`` holds, labels apart: bits, integers, reals, grey levels, means, or a table."""
        if self.schema is not None:
            return "table"
        if self.levels is not None:
            return "means" if self.levels == 1 else "grey levels"
        if self.train.is_floating_point():
            return "reals"
        bits = all(_is_bits(rows[:, : self.columns]) for rows in self._splits().values())
        return "bits" if bits else "integers"

    def with_labels(self) -> Dataset:
        """Return the data set of rows and labels together: a last column has the code of each row's label.

        Codes count from 0 in the order of the labels. They are never binarised.

        Raises:
            DataError: Rows have no labels, or all have the same.
        """
        if self.classes is not None:
            return self
        splits = self._splits()
        for split, rows in splits.items():
            if len(rows) and split not in self.labels:
                got = f"none of the {split} rows of {self.name}"
                raise DataError(f"labels: got {got}, expected one for each row")
        labels = torch.cat(list(self.labels.values())).unique()
        if len(labels) < 2:
            raise DataError(f"labels: got only {labels.tolist()} in {self.name}, expected at least two")
        none = torch.empty(0, dtype=torch.int64)
        codes = {split: torch.searchsorted(labels, self.labels.get(split, none)) for split in splits}
        train, validation, test = (_join(rows, codes[name], len(labels)) for name, rows in splits.items())
        classes = tuple(labels.tolist())
        return replace(self, train=train, validation=validation, test=test, classes=classes)

    def with_flips(self) -> Dataset:
        """Return the data set whose images are mirrored from left to right at half of their presentations.

        Rows stay as they are stored; training draws a coin for each row and epoch.

        Raises:
            ArgumentError: Rows are no images, or were transformed.
        """
        if len(self.shape) not in (2, 3):
            got = f"rows of shape {self.shape} in {self.name}"
            raise ArgumentError(
                f"flip: got {got}, expected images, (height, width) or (channels, height, width)"
            )
        if self.transform is not None:
            raise ArgumentError("flip: got transformed rows, whose mirror images are others; expected images")
        return replace(self, flips=True)

    def fixed(self, split: str = "train", rows: int | Tensor | None = None) -> Tensor:
        """Return rows that are ready to be scored: states, or means for ``none``.

        Grey training rows that are ``sampled`` give one binary sample, the same at each call.

        Arguments:
            split: ``train``, ``validation`` or ``test``.
            rows: At most how many rows, from the first on; or the numbers of those wanted, int64; all by
                default.

        Raises:
            ArgumentError: There is no such split, or ``rows`` is no count.
        """
        values: Tensor = choose("split", split, self._splits())
        which = _which(rows, len(values))
        if split != "train" or self.levels is None or self.binarisation is None:
            return values[which]
        if isinstance(which, Tensor) and self.binarisation != "none":
            return self.fixed(split)[which]
        values = values[which]
        ready = score(values[:, : self.columns], self.levels, self.binarisation, self.seed, split)
        return ready if self.classes is None else _join(ready, values[:, -1], len(self.classes))

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
    bits (and labels) with the training rows' base rates (Laplace's rule: one more of each value): the
    floor that any model must clear. It is None unless the test rows are bits or of a table.
    ``log_determinant`` is what takes a log-likelihood of transformed rows to the units that they came in, in
    nats per row.

    Of a table ``columns`` tells how each is treated and its share of gaps, ``gaps`` their share of all cells,
    and the baseline is that of independent columns, normal ones of numbers (as transformed).
    """
    labels = {split: _counts(values, dataset.label_names) for split, values in dataset.labels.items()}
    transform = dataset.transform
    table = {} if dataset.schema is None else _table(dataset, dataset.schema)
    return {
        "name": dataset.name,
        "rows": {split: len(rows) for split, rows in dataset._splits().items()},
        "shape": list(dataset.shape),
        "values": dataset.kind,
        "levels": dataset.levels,
        "binarisation": dataset.binarisation,
        "labels": labels,
        "alphabet": dataset.alphabet,
        "effective_rows": None if dataset.weights is None else dataset.weights.sum().item(),
        "transform": None if transform is None else str(transform),
        "log_determinant": None if transform is None else transform.log_determinant,
        "source": dataset.source,
        "baseline_log_likelihood": _baseline(dataset),
        **table,
    }


def _table(dataset: Dataset, schema: Schema) -> dict[str, object]:
    """Return what there is to tell of the columns of a table."""
    parts = [rows for rows in dataset._splits().values() if len(rows)]
    blocks = (block for rows in parts for block in rows.split(BLOCK))
    none = torch.zeros(len(schema.columns), dtype=torch.int64)
    gaps = sum((block.isnan().sum(0) for block in blocks), none) / sum(map(len, parts))
    shares = {column.name: float(gaps[i]) for i, column in enumerate(schema.blocks)}
    columns = [{**column, "gaps": shares[column["name"]]} for column in schema.describe()]
    return {"columns": columns, "gaps": float(gaps.mean()), "own_units": schema.has_density}


def _baseline(dataset: Dataset) -> float | None:
    """Return the mean test log-likelihood of independent bits, or None if there are none."""
    sampled = dataset.levels is not None and dataset.binarisation != "none"
    if dataset.schema is not None and len(dataset.test):
        return float(dataset.schema.baseline(dataset.train, dataset.test).mean())
    if len(dataset.test) == 0 or not (sampled or dataset.kind == "bits"):
        return None
    n, columns = len(dataset.train), dataset.columns
    rates = (_sum(dataset.train[:, :columns]) / (dataset.levels or 1) + 1) / (n + 2)
    frequencies = _sum(dataset.test[:, :columns]) / len(dataset.test)
    terms = frequencies * rates.log() + (1 - frequencies) * (-rates).log1p()
    if dataset.classes is None:
        return terms.sum().item()
    classes = len(dataset.classes)
    splits = (dataset.train, dataset.test)
    own, seen = (rows[:, -1].long().bincount(minlength=classes).double() for rows in splits)
    labels = seen / len(dataset.test) @ ((own + 1) / (n + classes)).log()
    return (terms.sum() + labels).item()


def _which(rows: int | Tensor | None, there: int) -> Tensor | slice:
    """Return what picks rows, given a count, their numbers, or None for all; raise if it is none of these."""
    if isinstance(rows, Tensor) and rows.dtype == torch.int64 and rows.ndim == 1:
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < there:
            got = f"{int(rows.min())} to {int(rows.max())}"
            raise ArgumentError(f"rows: got {got}, expected numbers of rows below {there}")
        return rows
    if rows is not None and (type(rows) is not int or rows < 0):
        raise invalid("rows", rows, "a count, the numbers of rows, or None")
    return slice(rows)


def _join(rows: Tensor, codes: Tensor, classes: int) -> Tensor:
    """Return rows with the codes as their last column, in the smallest type that holds both."""
    fits = (t for t in (torch.uint8, torch.int16, torch.int32) if classes <= torch.iinfo(t).max + 1)
    return torch.cat((rows, codes[:, None].to(next(fits))), 1)


def _sum(rows: Tensor) -> Tensor:
    """Add the rows up in float64, block by block, shape (columns)."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for row in range(0, len(rows), BLOCK):
        total += rows[row : row + BLOCK].sum(0, dtype=torch.float64)
    return total


def _counts(labels: Tensor, names: tuple[str, ...] | None) -> dict[str, int]:
    """Count how often each label occurs, by its name where it has one."""
    values, counts = np.unique(labels.numpy(), return_counts=True)
    return {names[v] if names else str(v): n for v, n in zip(values.tolist(), counts.tolist(), strict=True)}


def _is_bits(rows: Tensor) -> bool:
    return rows.dtype == torch.uint8 and (rows.numel() == 0 or int(rows.max()) <= 1)
