"""The kernels' loops, in the part of Python that numba compiles.

Loops are written so that LLVM turns them into vector code. A row is made in memory of its own and then
copied, because a sample may overwrite its field, and a loop that may read what it wrote is not
vectorised. The exponential and the logarithm of float32 are polynomials here (within 2 units in the last
place), since calls to the C library would not be vectorised. All numbers are typed, because mixed ones
would widen to 64 bits.

The functions at the end are the kernels; their first argument is the number of chunks of rows.
"""

from __future__ import annotations

__all__ = ["FLAGS", "anneal", "binarise", "binary", "categorical", "gaussian", "relu"]

import math

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, overload

FLAGS = {"error_model": "numpy", "fastmath": {"contract"}}
"""Division by zero gives infinity, and a product may fuse with a sum."""

_inline = njit(**FLAGS)
_whole = njit(inline="always", **FLAGS)
"""For functions so long that LLVM would call them, which no loop with vector code may."""


# --- elementary functions -----------------------------------------------------------------------


@intrinsic
def _float_of(typing_context, word):
    """Read the bits of an int32 as a float32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _bits_of(typing_context, value):
    """Read the bits of a float32 as an int32."""

    def codegen(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), codegen


def _exp(x):
    raise NotImplementedError


@overload(_exp)
def _choose_exp(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    def polynomial(x):
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


def _log1p(x):
    raise NotImplementedError


@overload(_log1p)
def _choose_log1p(x):
    """log(1 + x) for x in [0, 1]; in float32 by the series of atanh at x / (2 + x) <= 1/3."""
    if x != types.float32:
        return lambda x: math.log1p(x)

    def series(x):
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
def _log(x):
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
def _tail(word):
    """Whether u = (word + 1/2) / 2^32 is above 1/2, and the smaller of u and 1 - u, exactly rounded."""
    upper = word >> np.uint32(31)
    folded = (word ^ (np.uint32(0) - upper)) & np.uint32(0x7FFFFFFF)
    return upper, (np.float32(np.int32(folded)) + np.float32(0.5)) * np.float32(2.0**-32)


@_whole
def _deviate(t):
    """The standard normal deviate with probability t < 1/2 above it, relative error below 1e-6.

    By Giles's polynomials for the inverse error function (Approximating the erfinv function, 2010), of
    which the second serves t < 0.0017.
    """
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
    return z * np.float32(1.41421356)


@_inline
def _normal(word):
    """The standard normal quantile of (word + 1/2) / 2^32."""
    upper, t = _tail(word)
    z = _deviate(t)
    return z if upper else -z


# --- random bits --------------------------------------------------------------------------------


@_inline
def _round(c0, c1, c2, c3, k0, k1):
    first = np.uint64(c0) * np.uint64(0xD2511F53)
    second = np.uint64(c2) * np.uint64(0xCD9E8D57)
    return (
        np.uint32(np.uint32(second >> np.uint64(32)) ^ c1 ^ k0),
        np.uint32(second),
        np.uint32(np.uint32(first >> np.uint64(32)) ^ c3 ^ k1),
        np.uint32(first),
    )


@_inline
def _fill(words, columns, address, row):
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
def _unit(word):
    """Map a word to (0, 1) in float32; 31 of its bits, since only signed conversions are fast."""
    u = (np.float32(np.int32(word >> np.uint32(1))) + np.float32(0.5)) * np.float32(2.0**-31)
    return min(u, np.float32(1.0 - 2.0**-24))


@_inline
def _total(x):
    """The sum in float64, by four accumulators that do not wait for each other."""
    a = b = c = d = 0.0
    n = len(x) // 4 * 4
    for i in range(0, n, 4):
        a += x[i]
        b += x[i + 1]
        c += x[i + 2]
        d += x[i + 3]
    for i in range(n, len(x)):
        a += x[i]
    return (a + b) + (c + d)


# --- the normal distribution cut off below zero --------------------------------------------------


@_whole
def _mills(k):
    """log(M / k), and the excess 1 / M - t, of Mills' ratio M at t >= 0, given k = 3 / (3 + t).

    The polynomial interpolates the first at Chebyshev's points, within 2e-8. The second is a derivative of
    it, and so loses nothing where 1 / M and t are close.
    """
    x = k + k - np.float32(1.0)
    p = np.float32(-7.166126774e-05)
    d = p
    p = p * x + np.float32(9.335546939e-05)
    d = d * x + p
    p = p * x + np.float32(4.464138805e-04)
    d = d * x + p
    p = p * x + np.float32(-6.965023463e-04)
    d = d * x + p
    p = p * x + np.float32(-1.718214244e-03)
    d = d * x + p
    p = p * x + np.float32(3.332986649e-03)
    d = d * x + p
    p = p * x + np.float32(6.879286517e-03)
    d = d * x + p
    p = p * x + np.float32(-1.497269467e-02)
    d = d * x + p
    p = p * x + np.float32(-4.192586766e-02)
    d = d * x + p
    p = p * x + np.float32(7.147289447e-02)
    d = d * x + p
    p = p * x + np.float32(6.985918587e-01)
    d = d * x + p
    p = p * x + np.float32(-4.956405003e-01)
    return p, k * (np.float32(1.0) + (k + k) * d) * np.float32(1.0 / 3.0)


@_whole
def _beyond(t, k, p, depth, y):
    """One Newton step for the y above which exp(-depth) of the mass of N(-t, 1), cut at zero, lies."""
    s = t + y
    q, excess = _mills(np.float32(3.0) / (np.float32(3.0) + s))
    change = _log(np.float32(1.0) + y * k * np.float32(1.0 / 3.0)) + (p - q)
    wrong = (t + np.float32(0.5) * y) * y + change - depth
    return y - wrong / (s + excess)


@_whole
def _size(z):
    """|z|, but small enough that its square is a number."""
    return min(abs(z), np.float32(1e18))


@_whole
def _below_zero(size, k, p):
    """The probability that N(size, 1) has below zero."""
    return _exp(p - np.float32(0.5) * size * size) * k * np.float32(0.398942280)


@_whole
def _truncated(z, word):
    """y - max(z, 0), where u = (word + 1/2) / 2^32 of the mass of N(z, 1), cut at zero, lies above y.

    For negative z it solves for the logarithm of the mass above, from a start that has its slope and its
    curvature at zero; for positive z y is a normal deviate.
    """
    one = np.float32(1.0)
    upper, t = _tail(word)
    high = np.float32(np.int32(upper))
    low = one - high
    size = _size(z)
    k = np.float32(3.0) / (np.float32(3.0) + size)
    p, excess = _mills(k)

    depth = -(high * _log1p(-t) + low * _log(t))
    y = np.float32(2.0) * depth / (size + excess)
    y = y / (one + np.float32(math.sqrt(one + excess * y)))
    y = _beyond(size, k, p, depth, y)
    y = _beyond(size, k, p, depth, y)
    y = _beyond(size, k, p, depth, y)

    share = high * (one - t) + low * t
    cut = _below_zero(size, k, p)
    above, below = share * (one - cut), (high * t + low * (one - t)) + share * cut
    way = one if above < below else -one
    return y if z < np.float32(0.0) else way * _deviate(min(above, below))


@_whole
def _truncated_mean(z):
    """The mean of N(z, 1) cut off at zero."""
    size = _size(z)
    k = np.float32(3.0) / (np.float32(3.0) + size)
    p, excess = _mills(k)
    density = np.float32(0.398942280) * _exp(np.float32(-0.5) * size * size)
    return excess if z < np.float32(0.0) else z + density / (np.float32(1.0) - _below_zero(size, k, p))


@_inline
def _weigh(field, r, first, weight):
    """Write the probabilities of one block of states up to a factor, and return their sum."""
    top = field[r, first]
    for k in range(1, len(weight)):
        top = max(top, field[r, first + k])
    total = field.dtype.type(0)
    for k in range(len(weight)):
        weight[k] = _exp(field[r, first + k] - top)
        total += weight[k]
    return total


@_inline
def _pick(weight, total, word):
    """Return the state at which the cumulative sum of weights passes the share that a word says."""
    threshold = _unit(word) * total
    chosen, below = 0, weight[0]
    while below <= threshold and chosen < len(weight) - 1:
        chosen += 1
        below += weight[chosen]
    return chosen


# --- kernels ------------------------------------------------------------------------------------


def binary(chunks, field, address, one, gain, low, sample, mean):
    """Units with two values, low and 1: P(1) = sigmoid(gain * field)."""
    rows, columns = field.shape
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        line = np.empty(columns, field.dtype)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            if mean.size:
                for c in range(columns):
                    mean[r, c] = low + (one - low) / (one + _exp(-gain * field[r, c]))
            if sample.size:
                _fill(words, columns, address, address[4] + r)
                for c in range(columns):
                    odds = one + _exp(-gain * field[r, c])
                    line[c] = one if _unit(words[c]) * odds < one else low
                sample[r] = line


def anneal(chunks, field, address, one, gain, low, betas, logw, sample):
    """Add log Z(betas[1] * field) - log Z(betas[0] * field) to logw, and sample at betas[1]."""
    rows, columns = field.shape
    size = (rows + chunks - 1) // chunks
    old, new, rise = gain * betas[0], gain * betas[1], betas[1] - betas[0]
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        part = np.empty(columns, field.dtype)
        line = np.empty(columns, field.dtype)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            _fill(words, columns, address, address[4] + r)
            for c in range(columns):
                x = field[r, c]
                e = _exp(-new * abs(x))
                bend = _log1p(e) - _log1p(_exp(-old * abs(x)))
                part[c] = rise * max(x, low * x) + bend
                line[c] = one if _unit(words[c]) * (one + e) < (one if x > 0 else e) else low
            sample[r] = line
            logw[r] += _total(part)


def gaussian(chunks, field, address, precision, sample):
    """x = field / precision + normal / sqrt(precision)."""
    rows, columns = field.shape
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        line = np.empty(columns, field.dtype)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            _fill(words, columns, address, address[4] + r)
            for c in range(columns):
                noise = _normal(words[c]) / math.sqrt(precision[c])
                line[c] = field[r, c] / precision[c] + noise
            sample[r] = line


def relu(chunks, field, address, root, sample, mean):
    """x >= 0 with density proportional to exp(field x - (root x)^2 / 2); ``mean`` is float32."""
    rows, columns = field.shape
    size = (rows + chunks - 1) // chunks
    zero = field.dtype.type(0)
    for chunk in prange(chunks):
        words = np.empty(columns + 3, np.uint32)
        line = np.empty(columns, field.dtype)
        for r in range(chunk * size, min(rows, (chunk + 1) * size)):
            if mean.size:
                for c in range(columns):
                    mean[r, c] = _truncated_mean(np.float32(field[r, c] / root)) / root
            if sample.size:
                _fill(words, columns, address, address[4] + r)
                for c in range(columns):
                    z = field[r, c] / root
                    line[c] = max(max(z, zero) + _truncated(np.float32(z), words[c]), zero) / root
                sample[r] = line


def categorical(chunks, field, address, states, sample, mean):
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
                total = _weigh(field, r, first, weight)
                if mean.size:
                    for k in range(states):
                        mean[r, first + k] = weight[k] / total
                if sample.size:
                    chosen = _pick(weight, total, words[i])
                    for k in range(states):
                        sample[r, first + k] = 1 if k == chosen else 0


def binarise(chunks, grey, index, address, levels, sample):
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
