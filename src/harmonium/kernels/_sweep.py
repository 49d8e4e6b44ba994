r"""The loops of a Gibbs sweep: units that are coupled to each other, drawn one after the other.

A unit that changes by :math:`d` moves the fields of all others by :math:`d J_i`, a multiple of one row of
the couplings, so that every unit is drawn in a field that is up to date:

.. math:: x_i \sim p(x_i \mid a_i), \qquad a \leftarrow a + \beta (x_i' - x_i) J_i.

Each draw leaves the distribution as it is, and so do all of them in a row. The sweep is not reversible, but
visiting the units last to first is its time reversal.

A unit is visited in several rows of the batch before the next one, so that its couplings come from the
cache of a core. The exponentials of those rows are always taken together, whether there are as many rows or
not, and products do not fuse with sums in the update: a row's bits depend on nothing but the row.

The first argument of each kernel is the number of chunks of rows.
"""

from __future__ import annotations

__all__ = ["sweep_binary", "sweep_categorical"]

import numpy as np
from numba import njit, prange

from ._loops import _exp, _fill, _pick, _unit, _weigh

TOGETHER = 32
"""How many rows a unit is visited in before the next one; LLVM unrolls a loop of 16, and makes no vectors."""

_exact = njit(error_model="numpy", fastmath=False)


@_exact
def _move(field, r, lateral, i, step):
    """Add step times line i to the fields of row r."""
    for c in range(lateral.shape[1]):
        field[r, c] += step * lateral[i, c]


@_exact
def _exchange(field, r, lateral, new, old, step):
    """Add step times the difference of two lines to the fields of row r."""
    for c in range(lateral.shape[1]):
        field[r, c] += step * (lateral[new, c] - lateral[old, c])


def sweep_binary(chunks, field, x, lateral, address, one, gain, low, scale, held, reverse):
    """Units with two values, low and 1, one by one: P(1) = sigmoid(gain * field)."""
    rows, units = field.shape
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty((TOGETHER, units + 3), np.uint32)
        odds = np.zeros(TOGETHER, field.dtype)
        moved = np.empty(TOGETHER, np.int64)
        fresh = np.empty(TOGETHER, field.dtype)
        last = min(rows, (chunk + 1) * size)
        for first in range(chunk * size, last, TOGETHER):
            height = min(TOGETHER, last - first)
            for k in range(height):
                _fill(words[k], units, address, address[4] + first + k)
            for visit in range(units):
                i = units - 1 - visit if reverse else visit
                for k in range(height):
                    odds[k] = field[first + k, i]
                for k in range(TOGETHER):
                    odds[k] = one + _exp(-gain * odds[k])
                count = 0
                for k in range(height):
                    r = first + k
                    new = one if _unit(words[k, i]) * odds[k] < one else low
                    keeps = held.size > 0 and held[r, i]
                    moved[count], fresh[count] = r, new
                    count += new != x[r, i] and not keeps
                for k in range(count):
                    r = moved[k]
                    step = (fresh[k] - x[r, i]) * scale[r]
                    x[r, i] = fresh[k]
                    _move(field, r, lateral, i, step)


def sweep_categorical(chunks, field, x, lateral, address, states, scale, held, reverse):
    """One-hot blocks, one by one: P(state) proportional to exp(field)."""
    rows, columns = field.shape
    units = columns // states
    size = (rows + chunks - 1) // chunks
    for chunk in prange(chunks):
        words = np.empty((TOGETHER, units + 3), np.uint32)
        weight = np.empty(states, field.dtype)
        last = min(rows, (chunk + 1) * size)
        for first in range(chunk * size, last, TOGETHER):
            height = min(TOGETHER, last - first)
            for k in range(height):
                _fill(words[k], units, address, address[4] + first + k)
            for visit in range(units):
                i = units - 1 - visit if reverse else visit
                for k in range(height):
                    r = first + k
                    if held.size > 0 and held[r, i]:
                        continue
                    total = _weigh(field, r, i * states, weight)
                    new = i * states + _pick(weight, total, words[k, i])
                    if x[r, new] != 0:
                        continue
                    old = i * states
                    while x[r, old] == 0 and old < i * states + states - 1:
                        old += 1
                    x[r, old] = 0
                    x[r, new] = 1
                    _exchange(field, r, lateral, new, old, scale[r])
