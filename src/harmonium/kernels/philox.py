r"""Philox4x32-10: random bits as a pure function of an address, in plain torch on any device.

A counter-based generator has no state to advance. It maps a counter of four 32-bit words and a key of
two to four words of output; ten rounds of multiplication and exchange make those indistinguishable
from random. Whoever knows the address knows the bits, in any order and on any device, so that the
number of threads, processes or batches cannot change a run.

Here the key is a hash of the seed and the stream's name, and the counter is

.. math:: (\lfloor \text{column} / 4 \rfloor,\ \text{row},\ \text{step mod } 2^{32},\
    \lfloor \text{step} / 2^{32} \rfloor),

each output word serving one column. This file is the reference which the fused kernels must equal
bit for bit.

References:
    | Parallel random numbers: as easy as 1, 2, 3 (Salmon, Moraes, Dror & Shaw, 2011)
    | https://doi.org/10.1145/2063384.2063405
"""

from __future__ import annotations

__all__ = ["Draw", "bits", "normal", "philox", "uniform"]

from typing import NamedTuple

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10


class Draw(NamedTuple):
    """The address of one draw: the stream's 64-bit key, the step, and the first global row."""

    key: int
    step: int
    row: int = 0


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Return the four output words of each counter, :math:`(*, 4) \\to (*, 4)`, as int64.

    Arguments:
        counter: 32-bit words in an int64 tensor of shape :math:`(*, 4)`.
        key: The two 32-bit words of the key.
    """
    c0, c1, c2, c3 = counter.unbind(-1)
    k0, k1 = key
    for _ in range(ROUNDS):
        high0, low0 = _multiply(MULTIPLIERS[0], c0)
        high1, low1 = _multiply(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return torch.stack((c0, c1, c2, c3), dim=-1)


def bits(draw: Draw, rows: int | Tensor, columns: int, device: torch.device | None = None) -> Tensor:
    """Return the 32-bit words of a draw as an int64 tensor of shape (rows, columns).

    Arguments:
        draw: The address.
        rows: How many rows from ``draw.row`` on, or the global row numbers themselves.
        columns: How many columns.
        device: Where to make them.
    """
    if isinstance(rows, int):
        rows = torch.arange(draw.row, draw.row + rows, device=device)
    blocks = torch.arange(-(-columns // 4), device=rows.device)
    counter = torch.empty(len(rows), len(blocks), 4, dtype=torch.int64, device=rows.device)
    counter[..., 0] = blocks
    counter[..., 1] = rows.to(torch.int64)[:, None] & MASK
    counter[..., 2] = draw.step & MASK
    counter[..., 3] = draw.step >> 32
    words = philox(counter, (draw.key & MASK, draw.key >> 32))
    return words.flatten(1)[:, :columns]


def uniform(words: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Map 32-bit words to the open interval (0, 1) by :math:`(w + 1/2) / 2^{32}`.

    In float32 the nearest value may be 1, which is lowered to the float before it.
    """
    u = ((words.double() + 0.5) * 2.0**-32).to(dtype)
    return u.clamp(max=1 - torch.finfo(dtype).eps / 2)


def normal(words: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Map 32-bit words to standard normal deviates by the inverse distribution function.

    The finest uniform is :math:`2^{-33}`, so that no deviate lies beyond 6.3 standard deviations.
    """
    return torch.special.ndtri(uniform(words, torch.float64)).to(dtype)


def _multiply(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the high and the low word of a product of two 32-bit words.

    The product may wrap around in int64; its 64 bits are right all the same.
    """
    product = a * b
    return (product >> 32) & MASK, product & MASK
