r"""Invertible affine maps of real rows, fitted on the training rows: standardising and whitening.

Of rows :math:`x` of :math:`d` columns with the mean :math:`m` and the covariance :math:`\Sigma` (sums divided
by the number of rows), ``standardise`` makes :math:`y_j = (x_j - m_j) / \sqrt{\Sigma_{jj} + r}`, and ``zca``
makes :math:`y = (x - m)(\Sigma + r I)^{-1/2}`, which of all whitening maps moves the rows least (Bell &
Sejnowski 1997). The regulariser :math:`r = \epsilon \operatorname{tr}(\Sigma) / d` is a share of the mean
variance, whatever the units of the data are: a direction of variance :math:`\lambda` gets the variance
:math:`\lambda / (\lambda + r)`, so that noise in directions that hardly vary is not blown up.

Every dimension is kept, so that a density of :math:`y` is one of :math:`x`:

.. math:: \log p(x) = \log p(y) + \log \left| \det \frac{\partial y}{\partial x} \right|.

A map that takes the mean of each row away has no such determinant, and is not offered. Sums are of
float64, in blocks and on one thread, so that the same rows give the same bits on any number of threads.
"""

from __future__ import annotations

__all__ = ["TRANSFORMS", "Transform", "check_epsilon"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, DataError, choose, invalid
from ..threads import one_thread

BLOCK = 4096
LARGEST = 8192
TINY = 1e-14
CLOSE = 1e-6

TRANSFORMS: dict[str, float] = {"standardise": 0.0, "zca": 0.001}
"""The names of the maps, and the ``epsilon`` that each has by default."""


@dataclass(frozen=True, eq=False)
class Transform:
    """An invertible affine map of rows; its tensors are of float64.

    Arguments:
        kind: A name in ``TRANSFORMS``.
        mean: What is taken from each row, shape (columns).
        scale: What each column is then multiplied by, shape (columns); None if there is a matrix.
        matrix: What rows are then multiplied by, symmetric, shape (columns, columns).
        epsilon: The regulariser that it was fitted with.

    Raises:
        ArgumentError: The tensors are no such map.
    """

    kind: str
    mean: Tensor
    scale: Tensor | None = None
    matrix: Tensor | None = None
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        choose("kind", self.kind, TRANSFORMS)
        columns = self.mean.shape
        shapes = {"mean": columns[:1], "scale": columns, "matrix": (*columns, *columns)}
        tensors = self.state()
        if len(tensors) != 2:
            raise ArgumentError("scale, matrix: expected one of them")
        for name, tensor in tensors.items():
            if tensor.shape != shapes[name] or tensor.dtype != torch.float64:
                raise invalid(name, (tensor.dtype, *tensor.shape), f"float64 of shape {shapes[name]}")
        if not isfinite(self.log_determinant):
            raise ArgumentError("scale, matrix: got a map that cannot be inverted")

    @classmethod
    def fit(cls, kind: str, rows: Tensor, epsilon: float | None = None) -> Transform:
        """Fit a map of some kind to rows.

        Arguments:
            kind: A name in ``TRANSFORMS``.
            rows: Real values, shape (rows, columns).
            epsilon: The regulariser as a share of the mean variance; by default the kind's own.

        Raises:
            ArgumentError: There is no such kind, or ``epsilon`` is no number >= 0.
            DataError: Rows vary too little for a map that can be inverted, or have too many columns.
        """
        own = choose("transform", kind, TRANSFORMS)
        epsilon = own if epsilon is None else check_epsilon(epsilon)
        if rows.ndim != 2 or not rows.numel():
            raise invalid("rows", tuple(rows.shape), "shape (rows, columns), none of them 0")
        with one_thread():
            mean = _mean(rows)
            make = _standardiser if kind == "standardise" else _whitener
            return cls(kind, mean, epsilon=epsilon, **make(rows, mean, epsilon))

    @property
    def columns(self) -> int:
        """The number of columns of a row."""
        return len(self.mean)

    @cached_property
    def log_determinant(self) -> float:
        """What is added to log p(y), in nats per row, for log p(x) in the rows' own units."""
        if self.matrix is None:
            assert self.scale is not None
            return float(self.scale.abs().log().sum())
        with one_thread():
            return float(torch.linalg.slogdet(self.matrix).logabsdet)

    def apply(self, rows: Tensor) -> Tensor:
        """Map rows, shape (rows, columns); they come in float64 if they came in it, else in float32.

        Raises:
            ArgumentError: Rows have another number of columns.
        """
        factor = self.scale if self.matrix is None else self.matrix
        assert factor is not None
        return self._map(rows, lambda block: _times(block - self.mean, factor))

    def invert(self, rows: Tensor) -> Tensor:
        """Map rows back to the units in which they came, shape (rows, columns).

        Raises:
            ArgumentError: Rows have another number of columns.
        """
        return self._map(rows, lambda block: _times(block, self._inverse) + self.mean)

    def __str__(self) -> str:
        return f"{self.kind}, epsilon {self.epsilon:g}"

    def same(self, other: object) -> bool:
        """Return whether another map does the same to rows, but for the last digits."""
        if not isinstance(other, Transform) or self.config() != other.config():
            return False
        own, its = self.state(), other.state()
        if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in its.items()}:
            return False
        return all(bool((own[name] - its[name]).abs().max() <= CLOSE * own[name].abs().max()) for name in own)

    def config(self) -> dict[str, Any]:
        """Return what a map is besides its tensors, as JSON values."""
        return {"kind": self.kind, "epsilon": self.epsilon}

    def state(self) -> dict[str, Tensor]:
        """Return the tensors by name, as a safetensors file takes them."""
        named = {"mean": self.mean, "scale": self.scale, "matrix": self.matrix}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    @classmethod
    def from_state(cls, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Transform:
        """Return the map whose :meth:`config` and :meth:`state` these are.

        Raises:
            ArgumentError: They are those of no map.
        """
        if {*config} != {"kind", "epsilon"} or not {"mean"} <= {*state} <= {"mean", "scale", "matrix"}:
            raise invalid("state", [*config, *state], "kind, epsilon, mean, and scale or matrix")
        return cls(config["kind"], epsilon=config["epsilon"], **state)

    @cached_property
    def _inverse(self) -> Tensor:
        if self.matrix is None:
            assert self.scale is not None
            return 1 / self.scale
        with one_thread():
            return torch.linalg.inv(self.matrix)

    def _map(self, rows: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Map rows block by block."""
        if not isinstance(rows, Tensor):
            raise ArgumentTypeError(f"rows: got {type(rows).__name__}, expected a tensor")
        if rows.ndim != 2 or rows.shape[1] != self.columns:
            raise invalid("rows", tuple(rows.shape), f"shape (rows, {self.columns})")
        dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        out = torch.empty(rows.shape, dtype=dtype, device=rows.device)
        with one_thread():
            for start in range(0, len(rows), BLOCK):
                out[start : start + BLOCK] = function(rows[start : start + BLOCK].cpu().double())
        return out


def check_epsilon(epsilon: object) -> float:
    """Return a regulariser as a number.

    Raises:
        ArgumentError: It is no number >= 0.
    """
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 <= epsilon < float("inf"):
        raise invalid("epsilon", epsilon, "a number >= 0")
    return float(epsilon)


def _standardiser(rows: Tensor, mean: Tensor, epsilon: float) -> dict[str, Tensor]:
    """Return the scale of each column."""
    variance = torch.zeros_like(mean)
    for block in _blocks(rows):
        variance += (block - mean).square().sum(0)
    variance = variance / len(rows)
    variance = variance + epsilon * variance.mean()
    if not bool((variance > 0).all()):
        constant = (variance == 0).nonzero().flatten().tolist()
        raise DataError(
            f"transform: {len(constant)} of {len(mean)} columns have the same value in all training rows, "
            f"the first is column {constant[0]} (from 0); expected none, or rows that vary and epsilon > 0"
        )
    return {"scale": variance.rsqrt()}


def _whitener(rows: Tensor, mean: Tensor, epsilon: float) -> dict[str, Tensor]:
    """Return the symmetric matrix that makes the covariance the identity, but for the regulariser."""
    columns = len(mean)
    if columns > LARGEST:
        raise DataError(
            f"transform: got rows of {columns} columns, expected at most {LARGEST} for zca, whose matrix has "
            "the square of that; patches= or standardise takes less"
        )
    covariance = mean.new_zeros(columns, columns)
    for block in _blocks(rows):
        centred = block - mean
        covariance += centred.T @ centred
    variances, axes = torch.linalg.eigh(covariance / len(rows))
    variances = variances.clamp(min=0) + epsilon * variances.mean()
    flat = int((variances <= TINY * columns * variances[-1]).sum())
    if flat:
        raise DataError(
            f"transform: the {len(rows)} training rows vary in {columns - flat} of {columns} directions "
            "only; expected all, or rows that vary and epsilon > 0"
        )
    matrix = (axes * variances.rsqrt()) @ axes.T
    return {"matrix": (matrix + matrix.T) / 2}


def _times(rows: Tensor, factor: Tensor) -> Tensor:
    return rows * factor if factor.ndim == 1 else rows @ factor


def _mean(rows: Tensor) -> Tensor:
    """Return the mean of each column, exactly its value where that is one and the same, shape (columns)."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for block in _blocks(rows):
        total += block.sum(0)
    low, high = torch.aminmax(rows.detach().cpu(), dim=0)
    return torch.where(low == high, low.double(), total / len(rows))


def _blocks(rows: Tensor) -> Iterator[Tensor]:
    """Yield rows in blocks of float64."""
    for start in range(0, len(rows), BLOCK):
        yield rows[start : start + BLOCK].cpu().double()
