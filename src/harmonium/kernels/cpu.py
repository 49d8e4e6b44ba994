"""Fused sampling on the CPU: from a layer's field to its states and means in one pass.

Each kernel reads a field of shape (rows, columns), makes the random bits of each row in cache, and
writes samples or means into memory that the caller owns; a sample may overwrite its field. The bits are
those of :mod:`harmonium.kernels.philox`; a row's result depends on its own field and address alone, so
that neither the number of threads nor the split into batches can change it.

Every kernel is compiled twice from one source, with threads and without. Small fields stay on the
calling thread, and so does a call that finds another one in its parallel part, because not each of
numba's threading layers may be entered twice.
"""

from __future__ import annotations

__all__ = [
    "anneal_binary",
    "binarise",
    "binary_product",
    "flips",
    "sample_bernoulli",
    "sample_categorical",
    "sample_gaussian",
    "sample_relu",
    "sample_spin",
    "sweep",
]

import math
from collections.abc import Callable
from functools import partial, reduce
from threading import Lock
from types import FunctionType
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.nn.functional import pad

from . import _binary_product, _loops, _single_site, _sweep, truncated
from .philox import Draw

PARALLEL_FROM = 1 << 14
"""How many elements make threads worth waking."""

TABULATE_FROM = 1 << 22
"""How many multiplications make a product that is worth looking for bits; the look alone costs as much."""

_MOST: int = vars(numba.config)["NUMBA_NUM_THREADS"]
_ENTERED = Lock()


class Kernel:
    """A loop over chunks of rows, compiled with and without threads.

    The function's first argument is the number of chunks that it divides the rows into.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        options: dict[str, Any] = {"nogil": True, "cache": True, **_loops.FLAGS}
        self.serial = njit(**options)(function)
        self.parallel = njit(parallel=True, **options)(_renamed(function))

    def __call__(self, elements: int, *arguments: Any) -> None:
        threads = 1 if elements < PARALLEL_FROM else min(_MOST, torch.get_num_threads())
        if threads == 1 or not _ENTERED.acquire(blocking=False):
            self.serial(1, *arguments)
            return
        try:
            self.parallel(threads, *arguments)
        finally:
            _ENTERED.release()


def _renamed(function: Any) -> Callable[..., None]:
    """Return a copy of another name: numba's cache on disk knows a function by its name alone."""
    copy = FunctionType(function.__code__, function.__globals__, function.__name__ + "_threaded")
    copy.__qualname__ = copy.__name__
    copy.__module__ = function.__module__
    return copy


_run_binary = Kernel(_loops.binary)
_run_anneal = Kernel(_loops.anneal)
_run_gaussian = Kernel(_loops.gaussian)
_run_relu = Kernel(_loops.relu)
_run_categorical = Kernel(_loops.categorical)
_run_binarise = Kernel(_loops.binarise)
_run_pack = Kernel(_binary_product.pack)
_run_pack_transposed = Kernel(_binary_product.pack_transposed)
_run_multiply = Kernel(_binary_product.multiply)
_run_flips = Kernel(_single_site.flips)
_run_flips_gradient = Kernel(_single_site.flips_gradient)
_run_sweep_binary = Kernel(_sweep.sweep_binary)
_run_sweep_categorical = Kernel(_sweep.sweep_categorical)

_BUILD = 8
_GAIN = 0.25

_BINARY = {"bernoulli": (1, 0), "spin": (2, -1)}
"""The gain and the low value of each binary kind."""

_LIMITS = {torch.float32: 64.0, torch.float64: 640.0}
"""How large a logarithm may get before its exponential is near the end of the range."""

_NOTHING = {torch.float32: np.empty((0, 0), np.float32), torch.float64: np.empty((0, 0), np.float64)}
"""What stands for an output that is not wanted."""

_PARTS = 8
_ROWS = 64


def sample_bernoulli(
    field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None
) -> None:
    """Write samples in {0, 1} and means of P(1) = sigmoid(field), each where memory is given."""
    _launch(_run_binary, field, draw, _kind(field, 1, 0), (sample, mean))


def sample_spin(field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None) -> None:
    """Write samples in {-1, 1} and means of P(x) proportional to exp(field x)."""
    _launch(_run_binary, field, draw, _kind(field, 2, -1), (sample, mean))


def sample_categorical(
    field: Tensor,
    draw: Draw,
    states: int,
    sample: Tensor | None = None,
    mean: Tensor | None = None,
) -> None:
    """Write one-hot samples and probabilities of blocks of ``states`` columns."""
    _launch(_run_categorical, field, draw, (states,), (sample, mean))


def sample_gaussian(field: Tensor, draw: Draw, precision: Tensor, sample: Tensor) -> None:
    """Write samples of N(field / precision, 1 / precision); ``precision`` has shape (columns)."""
    _launch(_run_gaussian, field, draw, (_array(precision),), (sample,))


def sample_relu(
    field: Tensor,
    draw: Draw,
    precision: float,
    sample: Tensor | None = None,
    mean: Tensor | None = None,
) -> None:
    """Write samples and means of the density exp(field x - precision x^2 / 2) on x >= 0.

    Means of float64 fields are made in plain torch, since the kernel's are of float32.
    """
    root = math.sqrt(precision)
    if mean is not None and field.dtype == torch.float64:
        torch.div(truncated.mean(field / root), root, out=mean)
        mean = None
    if sample is not None or mean is not None:
        _launch(_run_relu, field, draw, (_number(field)(root),), (sample, mean))


def anneal_binary(
    field: Tensor,
    draw: Draw,
    spin: bool,
    betas: tuple[float, float],
    log_weight: Tensor,
    sample: Tensor,
) -> None:
    """One step of annealing for Bernoulli or Spin units that are summed out and then sampled.

    Adds log Z(beta' field) - log Z(beta field) of each row to ``log_weight`` (float64, shape (rows))
    and samples at beta', where Z is the units' normaliser and (beta, beta') = ``betas``.
    """
    kind = _kind(field, 2, -1) if spin else _kind(field, 1, 0)
    extra = (*kind, np.asarray(betas, kind[0].dtype), _array(log_weight))
    _launch(_run_anneal, field, draw, extra, (sample,))


def binarise(grey: Tensor, index: Tensor, draw: Draw, levels: float, sample: Tensor) -> None:
    """Write fresh bits of the rows ``index`` of ``grey``, P(1) = grey / levels."""
    arguments = (_array(grey), _array(index), _address(draw), np.float32(levels), _array(sample))
    _run_binarise(sample.numel(), *arguments)


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
    """See :func:`harmonium.kernels.sweep`."""
    rows, width = field.shape
    scales = np.ones(rows, _array(field).dtype) if scale is None else _array(scale)
    keeps = np.empty((0, 0), np.bool_) if held is None else _array(held)
    before = (_array(field), _array(x), _array(lateral), _address(draw))
    after = (scales, keeps, reverse)
    work = field.numel() * (1 + width // 16)
    if kind == "categorical":
        _run_sweep_categorical(work, *before, states, *after)
    else:
        _run_sweep_binary(work, *before, *_kind(field, *_BINARY[kind]), *after)


def binary_product(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> bool:
    """Write bias + x weight by sums of rows, if x is in {0, 1} and that is worth while.

    Worth while depends on shapes and on how many look-ups the rows of x need, not on timings, so that
    a run repeats. A weight costs as much to tabulate as ``_BUILD`` look-ups of it, and a look-up as
    much as 1 / ``_GAIN`` multiplications at most.

    Arguments:
        x: Shape (rows, inputs), float32; or the transpose of a contiguous matrix.
        weight: Shape (inputs, columns), float32; or the transpose of a contiguous matrix.
        bias: Shape (columns).
        out: Shape (rows, columns), contiguous.

    Returns:
        Whether ``out`` was written.
    """
    rows, inputs = x.shape
    budget = _GAIN * rows * inputs - _BUILD * inputs
    if budget <= 0 or not _suits(x) or not _suits(weight) or not out.is_contiguous():
        return False
    flat = x.is_contiguous()
    offsets = np.empty((rows, inputs // 4 + 1), np.int32)
    counts, other = np.empty(rows, np.int32), np.empty(rows, np.bool_)
    pack = _run_pack if flat else _run_pack_transposed
    pack(x.numel(), _array(x if flat else x.T), offsets, counts, other)
    if other.any() or counts.sum() > budget:
        return False
    flipped = not weight.is_contiguous()
    table = _array(weight.T if flipped else weight)
    _run_multiply(1 << 30, offsets, counts, table, flipped, _array(bias), _array(out))
    return True


def flips(
    field: Tensor, weight: Tensor, up: Tensor, step: float, spin: bool
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor]]] | None:
    """See :func:`harmonium.kernels.flips`; None where couplings are too strong for products."""
    tables = _tabulate(field, weight, step, spin)
    if tables is None:
        return None
    up = up.contiguous()
    out = torch.empty(up.shape, dtype=field.dtype)
    _run_flips(out.numel() * field.shape[1], *map(_array, (*tables, up)), _LIMITS[field.dtype], _array(out))
    if spin:
        out += torch.where(up, -step, step) * weight.detach().sum(1)
    return out, partial(_gradient_of_flips, tables, up, step, spin, weight.shape)


def _gradient_of_flips(
    tables: _Tables, up: Tensor, step: float, spin: bool, shape: torch.Size, slopes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradient, by a few rows at a time, so that what they add stays in the cache of a core."""
    _, gain, low = _kind(tables.on, 2, -1) if spin else _kind(tables.on, 1, 0)
    by_field, by_weight = [], torch.zeros(shape, dtype=tables.on.dtype)
    sources = (x.split(_ROWS) for x in (tables.on, tables.off, up, slopes.contiguous()))
    for on, off, way, slope in zip(*sources, strict=True):
        sums = torch.zeros(_PARTS, *on.shape, dtype=on.dtype)
        given = map(_array, (on, off, tables.odds, way, slope))
        _run_flips_gradient(way.numel() * shape[1], *given, gain, low, _array(sums), _array(by_weight))
        by_field.append(reduce(torch.add, sums)[:, : shape[1]] * float(gain))
    return torch.cat(by_field), by_weight.mul_(step)


class _Tables(NamedTuple):
    """What flips take: probabilities of hidden units, exponentials of changes, and bounds of logarithms."""

    on: Tensor
    off: Tensor
    odds: Tensor
    sizes: Tensor


def _tabulate(field: Tensor, weight: Tensor, step: float, spin: bool) -> _Tables | None:
    """Return the tables of a batch, or None if a group of factors is beyond the limit.

    Only operations whose bits do not depend on how torch shares out the elements among threads.
    """
    field, weight, gain = field.detach(), weight.detach(), 2 if spin else 1
    padding = (0, -weight.shape[1] % _single_site.LANES)
    rise = pad(gain * step * weight, padding).contiguous()
    sizes = rise.abs().unflatten(1, (-1, _single_site.LANES)).sum(-1)
    if not float(sizes.max()) <= _LIMITS[field.dtype]:
        return None
    odds = torch.empty(2, *rise.shape, dtype=rise.dtype)
    torch.reciprocal(torch.exp(rise, out=odds[1]), out=odds[0])
    x = pad(gain * field, padding, value=-torch.inf)
    on, off = (1 / (1 + torch.exp(sign * x)) for sign in (-1, 1))
    return _Tables(on, off, odds, sizes)


def _suits(matrix: Tensor) -> bool:
    return matrix.dtype == torch.float32 and (matrix.is_contiguous() or matrix.T.is_contiguous())


def _launch(
    kernel: Kernel,
    field: Tensor,
    draw: Draw,
    extra: tuple[Any, ...],
    outputs: tuple[Tensor | None, ...],
) -> None:
    written = (_NOTHING[field.dtype] if out is None else _array(out) for out in outputs)
    kernel(field.numel(), _array(field), _address(draw), *extra, *written)


def _kind(field: Tensor, gain: int, low: int) -> tuple[Any, ...]:
    """One, the gain and the low value of a binary unit, in the field's precision."""
    number = _number(field)
    return number(1), number(gain), number(low)


def _number(field: Tensor) -> Any:
    """Return the type of single numbers of the field's precision."""
    return np.float32 if field.dtype == torch.float32 else np.float64


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def _address(draw: Draw) -> Any:
    mask = 0xFFFFFFFF
    words = (draw.key & mask, draw.key >> 32, draw.step & mask, draw.step >> 32, draw.row)
    return np.array(words, np.int64)
