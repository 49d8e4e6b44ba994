"""Stacked MNIST: three digits as the channels of one image, which makes a thousand known modes.

Red, green and blue are images of digits that are drawn independently, and the label is the number that they
spell: the digits 4, 0 and 7 make 407. Which three images make a row is addressed by (seed, split, row), so
that the first rows are the same however many there are. Images of one split make rows of that split only.

References:
    | Unrolled generative adversarial networks (Metz, Poole, Pfau & Sohl-Dickstein, 2017)
"""

from __future__ import annotations

__all__ = ["NAMES", "stack"]

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..random import Stream

CHANNELS = 3
NAMES = tuple(f"{number:03}" for number in range(1000))


def stack(
    images: NDArray[Any], labels: NDArray[Any], n: int, stream: Stream
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return rows of three images each, and the numbers that their digits spell.

    Arguments:
        images: Shape (images, height, width).
        labels: Their digits, shape (images).
        n: The number of rows.
        stream: Says which images make a row; it takes a step.

    Returns:
        Shapes (n, 3, height, width) and (n).
    """
    chosen = (stream.uniform(n, CHANNELS, torch.float64) * len(images)).long().numpy()
    return images[chosen], labels[chosen].astype(np.int64) @ [100, 10, 1]
