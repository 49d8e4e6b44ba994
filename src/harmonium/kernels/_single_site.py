r"""What flipping each visible unit does to hidden units that sum out, and the gradient of that.

Flipping unit i changes the hidden fields by :math:`d_i W_{ij}`. With :math:`\sigma_j` for the probability
that hidden unit j is on before, the change of their log-partition functions is

.. math:: \sum_j \log \frac{1 + e^{a_j + d_i W_{ij}}}{1 + e^{a_j}}
    = \log \prod_j \left[(1 - \sigma_j) + \sigma_j e^{d_i W_{ij}}\right].

The exponentials are tabulated once for all rows, so that a hidden unit costs one multiplication and one
addition, and the logarithm is taken of products. A factor lies between 1 and its exponential; therefore
:math:`\sum_j |d_i W_{ij}|` bounds the logarithm, and tells where to cut the product before it leaves the
range of the numbers. All terms are positive, so that nothing cancels. In the gradient stand the changes of
the probabilities,

.. math:: \sigma(a_j + d_i W_{ij}) - \sigma_j
    = \frac{\sigma_j (1 - \sigma_j) (e^{d_i W_{ij}} - 1)}{(1 - \sigma_j) + \sigma_j e^{d_i W_{ij}}},

at the price of one division. Spin units are the same with fields and couplings doubled, but for a linear
term.

Hidden units are padded to whole groups of ``LANES`` with units that are never on. Threads share out the
visible units; what sums over those is collected in parts whose number does not depend on the threads.
"""

from __future__ import annotations

__all__ = ["LANES", "flips", "flips_gradient"]

import math

import numpy as np
from numba import njit, prange

from ._loops import FLAGS

LANES = 32
_SITES = 4

_inline = njit(**FLAGS)
_in_any_order = njit(error_model="numpy", fastmath={"contract", "reassoc"})


@_in_any_order
def _product(off, on, odds):
    """The product of off + on * odds."""
    product = off.dtype.type(1)
    for j in range(len(off)):
        product *= off[j] + on[j] * odds[j]
    return product


@_inline
def _cut(sizes, limit, ends):
    """List where to cut a product so that no piece's logarithm is beyond the limit; return their number.

    ``sizes`` bounds the logarithm of each group of factors, and is within the limit itself.
    """
    pieces, total = 0, 0.0
    for group in range(len(sizes)):
        if total + sizes[group] > limit:
            ends[pieces] = group * LANES
            pieces += 1
            total = 0.0
        total += sizes[group]
    ends[pieces] = len(sizes) * LANES
    return pieces + 1


@_inline
def _spread(slope, signed, off, on, odds, by_field, by_weight):
    """Add slope times each probability's change, and signed times each new probability."""
    one = off.dtype.type(1)
    for j in range(len(off)):
        rise = on[j] * off[j] * (odds[j] - one) / (off[j] + on[j] * odds[j])
        by_field[j] += slope * rise
        by_weight[j] += signed * (on[j] + rise)


def flips(chunks, on, off, odds, sizes, up, limit, out):
    """out = log of the product over hidden units of off + on * odds, at odds[0] down and odds[1] up."""
    rows, sites = up.shape
    blocks = (sites + _SITES - 1) // _SITES
    share = (blocks + chunks - 1) // chunks
    for chunk in prange(chunks):
        ends = np.empty((_SITES, sizes.shape[1]), np.int64)
        pieces = np.empty(_SITES, np.int64)
        for block in range(chunk * share, min(blocks, (chunk + 1) * share)):
            first = block * _SITES
            width = min(_SITES, sites - first)
            for k in range(width):
                pieces[k] = _cut(sizes[first + k], limit, ends[k])
            for r in range(rows):
                for k in range(width):
                    line = odds[np.int64(up[r, first + k]), first + k]
                    total, begin = 0.0, 0
                    for piece in range(pieces[k]):
                        end = ends[k, piece]
                        factor = _product(off[r, begin:end], on[r, begin:end], line[begin:end])
                        total += math.log(np.float64(factor))
                        begin = end
                    out[r, first + k] = total


def flips_gradient(chunks, on, off, odds, up, slopes, gain, low, by_field, by_weight):
    """Add to by_weight (sites, hidden), and to each part's sum over sites in by_field (parts, rows, *).

    ``slopes`` are the derivatives by the flips' results; an expected hidden statistic is
    low + gain * probability. ``by_weight`` is that for steps of size 1, and ``by_field`` lacks the gain.
    """
    rows, sites = up.shape
    hidden = by_weight.shape[1]
    parts = len(by_field)
    share = (parts + chunks - 1) // chunks
    size = (sites + parts - 1) // parts
    for chunk in prange(chunks):
        sums = np.empty((_SITES, on.shape[1]), on.dtype)
        totals = np.empty(_SITES, on.dtype)
        for part in range(chunk * share, min(parts, (chunk + 1) * share)):
            last = min(sites, (part + 1) * size)
            for first in range(part * size, last, _SITES):
                width = min(_SITES, last - first)
                sums[:] = 0
                totals[:] = 0
                for r in range(rows):
                    for k in range(width):
                        slope = slopes[r, first + k]
                        way = np.int64(up[r, first + k])
                        signed = slope if way else -slope
                        line = odds[way, first + k]
                        _spread(slope, signed, off[r], on[r], line, by_field[part, r], sums[k])
                        totals[k] += signed
                for k in range(width):
                    for j in range(hidden):
                        by_weight[first + k, j] += gain * sums[k, j] + low * totals[k]
