"""Batches of training rows, each presented in the form that the model's units take."""

from __future__ import annotations

__all__ = ["Opened", "Source", "changed_splits", "fingerprint", "fingerprints", "open_source"]

from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import kernels
from ..datasets import Dataset, flip
from ..errors import DataError, show
from ..learning import Batch
from ..random import Stream
from ..units import Mixed, Unit, as_rows, first_gap

_ROWS = 512
_ELEMENTS = 1 << 22


class Source:
    """Creates the source of a model's batches.

    Grey rows that are binarised by sampling get fresh bits at each presentation; the bits of a row
    depend on the epoch and the row alone, not on the batch that it comes in.

    Arguments:
        unit: The visible layer.
        rows: The training rows, shape (rows, size), as they are stored.
        stream: Orders the rows and draws their bits.
        batch_size: Rows in each batch; the last of an epoch may be smaller.
        levels: The grey level that means 1; none where rows are states.
        sampled: Whether grey rows are binarised by sampling; else they are used as means.
        codes: How many of the last columns hold codes, whatever the others hold.
        weights: The rows' weights, shape (rows); all equal if not given.
        flips: The shape of an image, where half of them, by a coin for each row and epoch, are mirrored.
        gaps: Whether values may be missing (NaN), where rows are states.

    Raises:
        DataError: Rows or weights do not fit.
    """

    def __init__(
        self,
        unit: Unit,
        rows: Tensor,
        stream: Stream,
        batch_size: int,
        *,
        levels: float | None = None,
        sampled: bool = False,
        codes: int = 0,
        weights: Tensor | None = None,
        flips: tuple[int, ...] | None = None,
        gaps: bool = False,
    ) -> None:
        self.unit = unit
        self.rows = rows
        self.batch_size = batch_size
        self.levels = levels
        self.sampled = sampled
        self.codes = codes
        self.order = stream.child("order")
        self.bits = stream.child("bits")
        self.coins = stream.child("flips")
        self.flips = flips
        self._check(gaps)
        self.gaps = gaps and levels is None and first_gap(rows) is not None
        if self.gaps:
            _check_gaps(rows)
        self.weights = None if weights is None else _relative(weights, len(rows))

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.rows) // self.batch_size)

    @property
    def steady(self) -> bool:
        """Whether a row is shown alike in every epoch."""
        return self.flips is None and (self.levels is None or not self.sampled)

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from number ``first`` on."""
        self.order.step = epoch
        order = self.order.permutation(len(self.rows))
        for index in order.split(self.batch_size)[first:]:
            if not self.gaps:
                yield Batch(self.present(index, epoch), self._shares(index), index)
                continue
            rows = self._flipped(self.rows[index], index, epoch)
            values, known = self.unit.known_statistics(rows)
            yield Batch(values, self._shares(index), index, known)

    def patterns(self) -> Iterator[Tensor]:
        """Yield which values are known, as it occurs in some rows after the other, shape (patterns, size)."""
        for block in self.rows.split(_ROWS):
            yield (~block.isnan()).unique(dim=0)

    def present(self, index: Tensor, epoch: int) -> Tensor:
        """Return the statistics of rows as they are shown in an epoch."""
        if self.levels is None or not self.sampled:
            return self._expected(index, epoch)
        columns = self.rows.shape[1]
        bits = torch.empty(len(index), columns, dtype=self.unit.bias.dtype)
        kernels.binarise(self.rows, index, self.bits.at(epoch), float(self.levels), bits)
        if self.codes:
            own = slice(columns - self.codes, columns)
            bits[:, own] = self.rows[index, own].to(bits)
        return self.unit.statistics(self._flipped(bits, index, epoch).to(self.unit.bias.device))

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the statistics of all rows as the first epoch shows them, and their weights, of mean 1.

        They come in blocks, shapes (rows, width) and (rows), that are small whatever the width is.
        """
        for index in torch.arange(len(self.rows)).split(max(1, min(_ROWS, _ELEMENTS // self.unit.width))):
            yield self.present(index, 0), self._shares(index) * len(index)

    def mean(self) -> Tensor:
        """Return the mean statistics; of discrete units, as if with two more rows without bias.

        Values that are missing do not count.
        """
        if self.gaps:
            return self.unit.smoothed(*self._known_sums(torch.zeros(self.unit.width, dtype=torch.float64), 1))
        total = torch.zeros(self.unit.width, dtype=torch.float64)
        for index in torch.arange(len(self.rows)).split(_ROWS):
            weights = self._shares(index).double() * len(index)
            total += weights.cpu() @ self._expected(index).double().cpu()
        return self.unit.smoothed(total, len(self.rows))

    def spread(self) -> tuple[Tensor, Tensor]:
        """Return the standard deviations and the smoothed means of the statistics, shapes (width)."""
        mean, total = self.mean(), torch.zeros(self.unit.width, dtype=torch.float64)
        if self.gaps:
            total, count = self._known_sums(mean, 2)
            return (total / count).sqrt(), mean
        for values, weights in self.blocks():
            total += weights.double().cpu() @ (values.double().cpu() - mean).square()
        return (total / len(self.rows)).sqrt(), mean

    def _known_sums(self, centre: Tensor, power: int) -> tuple[Tensor, Tensor]:
        """Return the weighted sums of powers of what is known, less a centre, and of the weights."""
        total, count = torch.zeros_like(centre), torch.zeros_like(centre)
        for index in torch.arange(len(self.rows)).split(_ROWS):
            values, known = self.unit.known_statistics(self.rows[index])
            there = torch.ones_like(values).double() if known is None else known.double()
            weights = (self._shares(index).double() * len(index)).cpu()
            total += weights @ ((values.double().cpu() - centre).pow(power) * there.cpu())
            count += weights @ there.cpu()
        return total, count

    def fingerprint(self) -> str:
        """Return a hash that tells these training rows, and how they are presented, from others."""
        codes = (self.codes,) if self.codes else ()
        flips = ("flips",) if self.flips else ()
        return fingerprint(self.rows, self.levels, self.sampled, *codes, *flips, weights=self.weights)

    def _flipped(self, rows: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Return rows as they are shown in an epoch, some of them mirrored."""
        if self.flips is None:
            return rows
        columns = rows.shape[1] - self.codes
        images = flip(rows[:, :columns], self.flips, index, self.coins, epoch)
        return torch.cat((images, rows[:, columns:]), 1)

    def _expected(self, index: Tensor, epoch: int = 0) -> Tensor:
        rows = self._flipped(self.rows[index], index, epoch)
        if self.levels is None:
            return self.unit.statistics(rows)
        means = rows.to(self.unit.bias)
        means[:, : rows.shape[1] - self.codes] /= self.levels
        return self.unit.statistics(means)

    def _shares(self, index: Tensor) -> Tensor:
        """Weights relative to the mean weight, divided by the number of rows in this batch."""
        n = len(index)
        if self.weights is None:
            return torch.full((n,), 1 / n, dtype=self.unit.bias.dtype, device=self.unit.bias.device)
        return self.weights[index].to(self.unit.bias) / n

    def _check(self, gaps: bool) -> None:
        parts = list(self.unit.parts) if isinstance(self.unit, Mixed) else [self.unit]
        if self.codes and parts[-1].size != self.codes:
            raise DataError(
                f"data: got rows that end in the code of a label, expected values of {show(self.unit)}; "
                "hm.Mixed(..., hm.Categorical(1, classes)) has a label"
            )
        label = parts[-1] if isinstance(self.unit, Mixed) else None
        bare = self.rows.ndim == 2 and self.rows.shape[1] == self.unit.size - 1
        if not self.codes and bare and label is not None and label.kind == "categorical" and label.size == 1:
            raise DataError(
                f"data: got shape {tuple(self.rows.shape)}, expected (rows, {self.unit.size}), where the "
                "last value is a label's code; of a data set that has labels, data.with_labels() makes such "
                "rows (on the command line: --set data.with_labels=true)"
            )
        if self.levels is None:
            self.unit.validate(self.rows, gaps=gaps)
            return
        if self.rows.ndim != 2 or self.rows.shape[1] != self.unit.size or not len(self.rows):
            got = tuple(self.rows.shape)
            raise DataError(f"data: got shape {got}, expected (rows, {self.unit.size})")
        grey = parts[:-1] if self.codes else parts
        if any(part.kind != "bernoulli" for part in grey):
            kinds = " and ".join(part.kind for part in grey)
            raise DataError(
                f"data: got grey levels, expected values of {kinds} units; "
                "only Bernoulli units take grey values"
            )
        if self.codes:
            parts[-1].validate(self.rows[:, -self.codes :])


class Opened(NamedTuple):
    """Data that are open for training."""

    source: Source
    train: Tensor
    """Training rows to be scored, shape (rows, size)."""
    validation: Tensor
    """Validation rows to be scored, shape (rows, size)."""
    states: bool
    """Whether these are states; else they are means."""


def open_source(
    unit: Unit,
    data: Any,
    stream: Stream,
    batch_size: int,
    probe: int,
    weights: Any = None,
    validation: Any = None,
    gaps: bool = False,
) -> Opened:
    """Return the source of ``data``, a probe of its training rows to be scored, and its validation rows.

    Arguments:
        unit: The visible layer.
        data: A :class:`harmonium.datasets.Dataset`, or rows of shape (rows, size).
        stream: Orders the rows and draws their bits.
        batch_size: Rows in each batch.
        probe: Rows of the probe, at most.
        weights: The rows' weights, shape (rows); by default those that ``data`` brings.
        validation: Rows to score, in place of those that ``data`` brings.
        gaps: Whether values may be missing (NaN).

    Raises:
        DataError: Rows or weights do not fit.
    """
    if weights is None and isinstance(data, Dataset):
        weights = data.weights
    shares = None if weights is None else as_rows("weights", weights).detach()
    if isinstance(data, Dataset):
        source = Source(
            unit,
            data.train,
            stream,
            batch_size,
            levels=data.levels,
            sampled=data.binarisation == "sampled",
            codes=0 if data.classes is None else 1,
            weights=shares,
            flips=data.shape if data.flips else None,
            gaps=gaps,
        )
        train, held_out, states = data.fixed("train", probe), data.validation, data.binarisation != "none"
    else:
        train = as_rows("data", data, "an array or a tensor of numbers, or a Dataset").detach()
        source = Source(unit, train, stream, batch_size, weights=shares, gaps=gaps)
        train, held_out, states = train[:probe], train[:0], True
    if validation is not None:
        held_out = as_rows("validation", validation).detach()
    if validation is not None or len(held_out):
        unit.validate(held_out, means=not states, name="validation", gaps=gaps)
    return Opened(source, train, held_out, states)


def fingerprint(rows: Tensor, *how: object, weights: Tensor | None = None) -> str:
    """Return a hash that tells rows, how they are presented, and their weights from others."""
    kind = [rows.dtype, tuple(rows.shape), *how]
    digest = sha256(" ".join(map(str, kind)).encode())
    for table in (rows, weights):
        for block in () if table is None else table.split(_ROWS):
            if block.is_floating_point():
                block = block.masked_fill(block.isnan(), torch.nan)
            digest.update(block.cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def fingerprints(data: Any) -> dict[str, str]:
    """Return the hashes of a data set's splits; rows alone are for training."""
    if not isinstance(data, Dataset):
        return {"train": fingerprint(as_rows("data", data).detach(), None, False)}
    codes = () if data.classes is None else (1,)
    flips = ("flips",) if data.flips else ()
    train = fingerprint(data.train, data.levels, data.binarisation == "sampled", *codes, *flips)
    return {"train": train, "validation": fingerprint(data.validation), "test": fingerprint(data.test)}


def changed_splits(config: dict[str, Any], data: Dataset) -> list[str]:
    """Return the splits of a data set that are not those which a run began with.

    Runs of old versions tell of the training rows alone; a classifier's rows have their labels beside them.

    Arguments:
        config: The configuration of the run.
        data: The data set.
    """
    noted = config.get("data_fingerprints")
    if not isinstance(noted, dict):
        noted = {"train": config["fingerprint"]}
    found = _differing(noted, data)
    if found and data.classes is None and data.labels:
        return _differing(noted, data.with_labels())
    return found


def _differing(noted: dict[str, str], data: Dataset) -> list[str]:
    now = fingerprints(data)
    return [split for split in now if noted.get(split, now[split]) != now[split]]


def _check_gaps(rows: Tensor) -> None:
    """Check that each row and each column has a value."""
    columns, empty = torch.zeros(rows.shape[1], dtype=torch.bool, device=rows.device), None
    for number, block in enumerate(rows.split(_ROWS)):
        there = ~block.isnan()
        columns |= there.any(0)
        if empty is None and not bool(there.any(1).all()):
            empty = number * _ROWS + int((~there.any(1)).nonzero()[0])
    if not bool(columns.all()):
        number, name, remedy = int((~columns).nonzero()[0]), "column", "train without it"
    elif empty is not None:
        number, name, remedy = empty, "row", "leave it out"
    else:
        return
    raise DataError(f"data: got no value in {name} {number}, expected one at least; {remedy}")


def _relative(weights: Tensor, n: int) -> Tensor:
    weights = weights.double()
    if weights.shape != (n,):
        raise DataError(f"weights: got shape {tuple(weights.shape)}, expected ({n},)")
    bad = ~(weights.isfinite() & (weights >= 0))
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise DataError(f"weights: got {weights[row]:g} at row {row}, expected a number >= 0")
    if float(weights.sum()) == 0:
        raise DataError("weights: got only zeros, expected some positive weight")
    return weights / weights.mean()
