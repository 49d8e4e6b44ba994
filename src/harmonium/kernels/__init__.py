"""Random bits, and the fused passes that turn a layer's field into samples.

Each function here runs the numba kernel on CPU tensors and plain torch elsewhere; both draw the same
bits. ``HARMONIUM_KERNELS=eager`` in the environment takes plain torch everywhere.
"""

from __future__ import annotations

__all__ = [
    "Draw",
    "affine",
    "anneal_binary",
    "bernoulli",
    "binarise",
    "categorical",
    "cross",
    "flips",
    "gaussian",
    "relu",
    "spin",
    "sweep",
    "tiles",
]

import os
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from . import cpu, eager
from ._tiles import tiles
from .philox import Draw

_EAGER = os.environ.get("HARMONIUM_KERNELS", "") == "eager"


def bernoulli(field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None) -> None:
    """Write samples in {0, 1} and means of P(1) = sigmoid(field), each where memory is given."""
    _module(field).sample_bernoulli(field, draw, sample, mean)


def spin(field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None) -> None:
    """Write samples in {-1, 1} and means of P(x) proportional to exp(field x)."""
    _module(field).sample_spin(field, draw, sample, mean)


def categorical(
    field: Tensor,
    draw: Draw,
    states: int,
    sample: Tensor | None = None,
    mean: Tensor | None = None,
) -> None:
    """Write one-hot samples and probabilities of blocks of ``states`` columns."""
    _module(field).sample_categorical(field, draw, states, sample, mean)


def gaussian(field: Tensor, draw: Draw, precision: Tensor, sample: Tensor) -> None:
    """Write samples of N(field / precision, 1 / precision); ``precision`` has shape (columns)."""
    _module(field).sample_gaussian(field, draw, precision, sample)


def relu(
    field: Tensor,
    draw: Draw,
    precision: float,
    sample: Tensor | None = None,
    mean: Tensor | None = None,
) -> None:
    """Write samples and means of the density exp(field x - precision x^2 / 2) on x >= 0."""
    _module(field).sample_relu(field, draw, precision, sample, mean)


def anneal_binary(
    field: Tensor,
    draw: Draw,
    spin: bool,
    betas: tuple[float, float],
    log_weight: Tensor,
    sample: Tensor,
) -> None:
    """Take one annealing step of binary units: see :func:`harmonium.kernels.cpu.anneal_binary`."""
    _module(field).anneal_binary(field, draw, spin, betas, log_weight, sample)


def sweep(
    field: Tensor,
    x: Tensor,
    lateral: Tensor,
    draw: Draw,
    kind: str,
    *,
    states: int = 1,
    scale: Tensor | None = None,
    held: Tensor | None = None,
    reverse: bool = False,
) -> None:
    """Draw units that are coupled to each other, one after the other, each given all others' present states.

    A unit that changes by d adds scale * d * (its row of ``lateral``) to the fields of its row.

    Arguments:
        field: Fields given the present states, already tempered, shape (rows, width); kept up to date.
        x: Present states, shape (rows, width), overwritten by the new ones; one-hot where categorical.
        lateral: Symmetric couplings with a diagonal of zeros (zero blocks), shape (width, width).
        draw: The address; a unit's number is its column.
        kind: ``"bernoulli"``, ``"spin"`` or ``"categorical"``.
        states: The columns of one unit.
        scale: The inverse temperature of each row, shape (rows); 1 if None.
        held: Which units keep their values, shape (rows, units), boolean; none if None.
        reverse: Visit the units last to first: the time reversal of a sweep.
    """
    options = {"states": states, "scale": scale, "held": held, "reverse": reverse}
    _module(field).sweep(field, x, lateral, draw, kind, **options)


def binarise(grey: Tensor, index: Tensor, draw: Draw, levels: float, sample: Tensor) -> None:
    """Write fresh bits of the rows ``index`` of ``grey``, P(1) = grey / levels."""
    _module(sample).binarise(grey, index, draw, levels, sample)


def affine(bias: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return bias + x weight; a large product by sums of rows where x is in {0, 1} and no gradient is wanted.

    Arguments:
        bias: Shape (columns).
        x: Shape (rows, inputs).
        weight: Shape (inputs, columns).
    """
    if _tabulates(x, weight):
        out = torch.empty(len(x), weight.shape[1], dtype=x.dtype)
        if cpu.binary_product(x, weight, bias, out):
            return out
    return torch.addmm(bias, x, weight)


def cross(x: Tensor, y: Tensor, out: Tensor | None = None) -> Tensor:
    """Return x' y, shape (columns of x, columns of y), as :func:`affine` does where x is in {0, 1}."""
    if _tabulates(x, y):
        place = torch.empty(x.shape[1], y.shape[1], dtype=x.dtype) if out is None else out
        if cpu.binary_product(x.T, y, y.new_zeros(y.shape[1]), place):
            return place
    return torch.mm(x.T, y, out=out)


def _tabulates(x: Tensor, y: Tensor) -> bool:
    """Return whether a product of x, or of x', and y may be one of tabulated sums, whatever x holds."""
    large = x.ndim == 2 and x.numel() * y.shape[1] >= cpu.TABULATE_FROM
    return large and not torch.is_grad_enabled() and _module(x) is cpu


@torch.no_grad()
def flips(
    field: Tensor, weight: Tensor, up: Tensor, step: float, spin: bool
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]]:
    r"""Return what flipping each visible unit adds to the log-partition functions of hidden ones.

    .. math:: \sum_j A(a_{rj} + d_{ri} W_{ij}) - A(a_{rj})

    where A is that of Bernoulli or of Spin units.

    Arguments:
        field: The hidden fields a, shape (rows, hidden).
        weight: The couplings W, shape (visible, hidden).
        up: Whether d is ``step``, else it is ``-step``; shape (rows, visible), boolean.
        step: How far a visible unit's two values are apart.
        spin: Whether the hidden units are Spin units.

    Returns:
        These sums, shape (rows, visible); and the function that takes a loss's derivatives by them to its
        derivatives by fields and couplings.
    """
    fused = cpu.flips(field, weight, up, step, spin) if _module(field) is cpu else None
    return eager.flips(field, weight, up, step, spin) if fused is None else fused


def _module(tensor: Tensor) -> ModuleType:
    fused = tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)
    return cpu if fused and not _EAGER else eager
