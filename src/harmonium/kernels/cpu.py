r"""Fused sampling on the CPU: from a layer's field to its states and means in one pass.

Each kernel reads a field of shape (rows, columns), makes the random bits of each row in cache, and
writes samples or means into memory that the caller owns. The bits are those of
:mod:`harmonium.kernels.philox`; a row's result depends on its own field and address alone, so that
neither the number of threads nor the split into batches can change it.

Every kernel is compiled twice from one source, with threads and without. Small fields stay on the
calling thread, and so does a call that finds another one in its parallel part, because not each of
numba's threading layers may be entered twice.

Loops are written so that LLVM turns them into vector code: the exponential and the logarithm of
float32 are polynomials here (within 2 units in the last place), since calls to the C library would
not be vectorised.
"""

from __future__ import annotations

__all__ = [
    "anneal_binary",
    "binarise",
    "sample_bernoulli",
    "sample_categorical",
    "sample_gaussian",
    "sample_spin",
]

import math
from collections.abc import Callable
from threading import Lock
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, overload
from torch import Tensor

from .philox import Draw

PARALLEL_FROM = 1 << 15
"""How many elements make threads worth waking."""

_ENTERED = Lock()
_inline = njit(error_model="numpy")


class Kernel:
    """A loop over chunks of rows, compiled with and without threads.

    The function's first argument is the number of chunks that it divides the rows into.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        options = {"nogil": True, "cache": True, "error_model": "numpy"}
        self.serial = njit(**options)(function)
        self.parallel = njit(parallel=True, **options)(function)
        self.__doc__ = function.__doc__

    def __call__(self, elements: int, *arguments: Any) -> None:
        threads = min(numba.get_num_threads(), torch.get_num_threads())
        if elements < PARALLEL_FROM or threads == 1 or not _ENTERED.acquire(blocking=False):
            self.serial(1, *arguments)
            return
        try:
            self.parallel(threads, *arguments)
        finally:
            _ENTERED.release()


# --- elementary functions -----------------------------------------------------------------------


@intrinsic
def _float_of(typing_context, word):  # type: ignore[no-untyped-def]
    """Read the bits of an int32 as a float32."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _bits_of(typing_context, value):  # type: ignore[no-untyped-def]
    """Read the bits of a float32 as an int32."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), codegen


def _exp(x):  # type: ignore[no-untyped-def]
    raise NotImplementedError


@overload(_exp)
def _choose_exp(x):  # type: ignore[no-untyped-def]
    if x != types.float32:
        return lambda x: math.exp(x)

    def polynomial(x):  # type: ignore[no-untyped-def]
        x = np.float32(-87.0) if x < np.float32(-87.0) else x
        x = np.float32(88.0) if x > np.float32(88.0) else x
        n = (x * np.float32(1.44269504) + np.float32(12582912.0)) - np.float32(12582912.0)
        r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
        p = np.float32(1.9875691500e-4)
        p = p * r + np.float32(1.3981999507e-3)
        p = p * r + np.float32(8.3334519073e-3)
        p = p * r + np.float32(4.1665795894e-2)
        p = p * r + np.float32(1.6666665459e-1)
        p = p * r + np.float32(5.0000001201e-1)
        p = (p * r) * r + r + np.float32(1.0)
        return p * _float_of((np.int32(n) + np.int32(127)) << np.int32(23))

    return polynomial


def _log1p(x):  # type: ignore[no-untyped-def]
    raise NotImplementedError


@overload(_log1p)
def _choose_log1p(x):  # type: ignore[no-untyped-def]
    """log(1 + x) for x in [0, 1]; in float32 by the series of atanh at x / (2 + x) <= 1/3."""
    if x != types.float32:
        return lambda x: math.log1p(x)

    def series(x):  # type: ignore[no-untyped-def]
        s = x / (np.float32(2.0) + x)
        z = s * s
        p = np.float32(2.0 / 15.0)
        p = p * z + np.float32(2.0 / 13.0)
        p = p * z + np.float32(2.0 / 11.0)
        p = p * z + np.float32(2.0 / 9.0)
        p = p * z + np.float32(2.0 / 7.0)
        p = p * z + np.float32(2.0 / 5.0)
        p = p * z + np.float32(2.0 / 3.0)
        p = p * z + np.float32(2.0)
        return p * s

    return series


@_inline
def _log(x):  # type: ignore[no-untyped-def]
    """log(x) of a positive, normal float32: its exponent, and atanh's series at the mantissa."""
    word = _bits_of(x)
    exponent = (word - np.int32(0x3F3504F3)) >> np.int32(23)
    m = _float_of(word - (exponent << np.int32(23)))
    s = (m - np.float32(1.0)) / (m + np.float32(1.0))
    z = s * s
    p = np.float32(2.0 / 9.0)
    p = p * z + np.float32(2.0 / 7.0)
    p = p * z + np.float32(2.0 / 5.0)
    p = p * z + np.float32(2.0 / 3.0)
    p = p * z + np.float32(2.0)
    return p * s + np.float32(exponent) * np.float32(0.693147180)


@_inline
def _normal(word):  # type: ignore[no-untyped-def]
    """The standard normal quantile of (word + 1/2) / 2^32, relative error below 1e-6.

    The tail's probability t comes exactly from the word; then Giles's polynomials for the inverse
    error function (Approximating the erfinv function, 2010), of which the second serves t < 0.0017.
    """
    upper = word >> np.uint32(31)
    folded = (word ^ (np.uint32(0) - upper)) & np.uint32(0x7FFFFFFF)
    t = (np.float32(np.int32(folded)) + np.float32(0.5)) * np.float32(2.0**-32)
    w = -_log(np.float32(4.0) * t * (np.float32(1.0) - t))
    a = w - np.float32(2.5)
    p = np.float32(2.81022636e-08)
    p = p * a + np.float32(3.43273939e-07)
    p = p * a + np.float32(-3.5233877e-06)
    p = p * a + np.float32(-4.39150654e-06)
    p = p * a + np.float32(0.00021858087)
    p = p * a + np.float32(-0.00125372503)
    p = p * a + np.float32(-0.00417768164)
    p = p * a + np.float32(0.246640727)
    p = p * a + np.float32(1.50140941)
    b = np.float32(math.sqrt(max(w, np.float32(5.0)))) - np.float32(3.0)
    q = np.float32(-0.000200214257)
    q = q * b + np.float32(0.000100950558)
    q = q * b + np.float32(0.00134934322)
    q = q * b + np.float32(-0.00367342844)
    q = q * b + np.float32(0.00573950773)
    q = q * b + np.float32(-0.0076224613)
    q = q * b + np.float32(0.00943887047)
    q = q * b + np.float32(1.00167406)
    q = q * b + np.float32(2.83297682)
    z = (p if w < np.float32(5.0) else q) * (np.float32(1.0) - np.float32(2.0) * t)
    z *= np.float32(1.41421356)
    return z if upper else -z


# --- random bits --------------------------------------------------------------------------------


@_inline
def _round(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    first = np.uint64(c0) * np.uint64(0xD2511F53)
    second = np.uint64(c2) * np.uint64(0xCD9E8D57)
    return (
        np.uint32(np.uint32(second >> np.uint64(32)) ^ c1 ^ k0),
        np.uint32(second),
        np.uint32(np.uint32(first >> np.uint64(32)) ^ c3 ^ k1),
        np.uint32(first),
    )


@_inline
def _fill(words, columns, address, row):  # type: ignore[no-untyped-def]
    """Write the words of one row; ``words`` has room for whole blocks of four."""
    k0, k1 = np.uint32(address[0]), np.uint32(address[1])
    for block in range((columns + 3) // 4):
        c0, c1 = np.uint32(block), np.uint32(row)
        c2, c3 = np.uint32(address[2]), np.uint32(address[3])
        for i in range(10):
            weyl0 = np.uint32(k0 + np.uint32(i) * np.uint32(0x9E3779B9))
            weyl1 = np.uint32(k1 + np.uint32(i) * np.uint32(0xBB67AE85))
            c0, c1, c2, c3 = _round(c0, c1, c2, c3, weyl0, weyl1)
        words[4 * block] = c0
        words[4 * block + 1] = c1
        words[4 * block + 2] = c2
        words[4 * block + 3] = c3


@_inline
def _unit(word):  # type: ignore[no-untyped-def]
    """Map a word to (0, 1) in float32; 31 of its bits, since only signed conversions are fast."""
    u = (np.float32(np.int32(word >> np.uint32(1))) + np.float32(0.5)) * np.float32(2.0**-31)
    return min(u, np.float32(1.0 - 2.0**-24))


# --- kernels ------------------------------------------------------------------------------------


def _binary(chunks, field, address, one, gain, low, sample, mean):  # type: ignore[no-untyped-def]
    """Units with two values, low and 1: P(1) = sigmoid(gain * field)."""
    rows, columns = field.shape
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            if mean.size:
                for c in range(columns):
                    mean[r, c] = low + (one - low) / (one + _exp(-gain * field[r, c]))
            if sample.size:
                _fill(words, columns, address, address[4] + r)
                for c in range(columns):
                    odds = one + _exp(-gain * field[r, c])
                    sample[r, c] = one if _unit(words[c]) * odds < one else low


def _anneal(chunks, field, address, one, gain, low, betas, logw, sample):  # type: ignore[no-untyped-def]
    """Add log Z(betas[1] * field) - log Z(betas[0] * field) to logw, and sample at betas[1]."""
    rows, columns = field.shape
    size = (rows + chunks - 1) // chunks
    old, new, rise = gain * betas[0], gain * betas[1], betas[1] - betas[0]
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        part = np.empty(columns, field.dtype)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            for c in range(columns):
                x = field[r, c]
                bend = _log1p(_exp(-new * abs(x))) - _log1p(_exp(-old * abs(x)))
                part[c] = rise * max(x, low * x) + bend
            total = 0.0
            for c in range(columns):
                total += part[c]
            logw[r] += total
            _fill(words, columns, address, address[4] + r)
            for c in range(columns):
                odds = one + _exp(-new * field[r, c])
                sample[r, c] = one if _unit(words[c]) * odds < one else low


def _gaussian(chunks, field, address, precision, sample):  # type: ignore[no-untyped-def]
    """x = field / precision + normal / sqrt(precision)."""
    rows, columns = field.shape
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            _fill(words, columns, address, address[4] + r)
            for c in range(columns):
                noise = _normal(words[c]) / math.sqrt(precision[c])
                sample[r, c] = field[r, c] / precision[c] + noise


def _categorical(chunks, field, address, states, sample, mean):  # type: ignore[no-untyped-def]
    """One-hot blocks with P(state) proportional to exp(field), by inversion of the cumulative sum."""
    rows, columns = field.shape
    units = columns // states
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty(units + 3, np.uint32)
        weight = np.empty(states, field.dtype)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            _fill(words, units, address, address[4] + r)
            for i in range(units):
                first = i * states
                top = field[r, first]
                for k in range(1, states):
                    top = max(top, field[r, first + k])
                total = field.dtype.type(0)
                for k in range(states):
                    weight[k] = _exp(field[r, first + k] - top)
                    total += weight[k]
                if mean.size:
                    for k in range(states):
                        mean[r, first + k] = weight[k] / total
                if sample.size:
                    threshold = _unit(words[i]) * total
                    chosen, below = 0, weight[0]
                    while below <= threshold and chosen < states - 1:
                        chosen += 1
                        below += weight[chosen]
                    for k in range(states):
                        sample[r, first + k] = 1 if k == chosen else 0


def _binarise(chunks, grey, index, address, levels, sample):  # type: ignore[no-untyped-def]
    """Fresh bits of rows ``index`` of ``grey``: P(1) = grey / levels, addressed by the global row."""
    rows, columns = sample.shape
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            row = index[r]
            _fill(words, columns, address, row)
            for c in range(columns):
                sample[r, c] = 1 if _unit(words[c]) * levels < grey[row, c] else 0


_run_binary = Kernel(_binary)
_run_anneal = Kernel(_anneal)
_run_gaussian = Kernel(_gaussian)
_run_categorical = Kernel(_categorical)
_run_binarise = Kernel(_binarise)


# --- on tensors ---------------------------------------------------------------------------------


def sample_bernoulli(
    field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None
) -> None:
    """Write samples in {0, 1} and means of P(1) = sigmoid(field), each where memory is given."""
    _launch(_run_binary, field, draw, _kind(field, 1, 0), (sample, mean))


def sample_spin(
    field: Tensor, draw: Draw, sample: Tensor | None = None, mean: Tensor | None = None
) -> None:
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


def _launch(
    kernel: Kernel,
    field: Tensor,
    draw: Draw,
    extra: tuple[Any, ...],
    outputs: tuple[Tensor | None, ...],
) -> None:
    array = _array(field)
    empty = np.empty((0, 0), array.dtype)
    written = (empty if out is None else _array(out) for out in outputs)
    kernel(field.numel(), array, _address(draw), *extra, *written)


def _kind(field: Tensor, gain: int, low: int) -> tuple[Any, ...]:
    """One, the gain and the low value of a binary unit, in the field's precision."""
    number = np.float32 if field.dtype == torch.float32 else np.float64
    return number(1), number(gain), number(low)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().numpy()


def _address(draw: Draw) -> Any:
    mask = 0xFFFFFFFF
    words = (draw.key & mask, draw.key >> 32, draw.step & mask, draw.step >> 32, draw.row)
    return np.array(words, np.int64)
