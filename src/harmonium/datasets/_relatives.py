"""How many rows of codes are near each row: the loop over pairs, compiled.

Codes are kept as planes of bits, 64 positions to a word, so that a word of two rows is compared in a few
instructions: positions differ where any plane does. A pair is left as soon as it differs too often.
"""

from __future__ import annotations

__all__ = ["count_relatives"]

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

WORD = 64


def count_relatives(codes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return how many rows, itself included, differ from each in at most so many positions, shape (rows).

    Arguments:
        codes: Codes from 0 on, shape (rows, positions).
        most: The positions in which relatives may differ.
    """
    counts = np.ones(len(codes), dtype=np.int64)
    _count(_planes(codes), most, counts)
    return counts


def _planes(codes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return the bits of codes, a word for each 64 positions, shape (rows, words, planes)."""
    rows, positions = codes.shape
    words, depth = math.ceil(positions / WORD), max(1, int(codes.max()).bit_length())
    padded = np.zeros((rows, words * WORD), dtype=np.int64)
    padded[:, :positions] = codes
    planes = np.empty((rows, words, depth), dtype=np.uint64)
    for plane in range(depth):
        bits = (padded >> plane & 1).astype(np.uint8)
        planes[:, :, plane] = np.packbits(bits, axis=1).view(np.uint64)
    return planes


@njit(error_model="numpy")
def _ones(word: np.uint64) -> np.int64:
    """Return how many bits of a word are set."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(error_model="numpy")
def _count(planes: NDArray[np.uint64], most: int, counts: NDArray[np.int64]) -> None:
    """Count the relatives of each row among the rows after it, and it among theirs."""
    rows, words, depth = planes.shape
    for a in range(rows):
        for b in range(a + 1, rows):
            differing = np.int64(0)
            for word in range(words):
                apart = np.uint64(0)
                for plane in range(depth):
                    apart |= planes[a, word, plane] ^ planes[b, word, plane]
                differing += _ones(apart)
                if differing > most:
                    break
            if differing <= most:
                counts[a] += 1
                counts[b] += 1
