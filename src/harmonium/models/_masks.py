"""Which units of two layers may be coupled: at random, or near each other on an image."""

from __future__ import annotations

__all__ = ["local_mask", "random_mask"]

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import invalid
from ..random import Stream


def random_mask(visible: int, hidden: int, inputs: int, *, seed: int = 0) -> Tensor:
    """Return a mask by which each hidden unit sees as many visible units, drawn at random.

    Arguments:
        visible: The number of visible units.
        hidden: The number of hidden units.
        inputs: How many visible units each hidden one sees.
        seed: Draws them.

    Returns:
        Truth values of shape (visible, hidden).

    Raises:
        ArgumentError: A number is not positive, or there are fewer visible units than ``inputs``.
    """
    for name, value in (("visible", visible), ("hidden", hidden), ("inputs", inputs)):
        _check_positive(name, value)
    if inputs > visible:
        raise invalid("inputs", inputs, f"at most the {visible} visible units")
    order = Stream(seed, "mask").uniform(hidden, visible).argsort(dim=1, stable=True)
    mask = torch.zeros(hidden, visible, dtype=torch.bool)
    return mask.scatter_(1, order[:, :inputs], True).T.contiguous()


def local_mask(shape: Sequence[int], hidden: int, size: int, *, seed: int = 0) -> Tensor:
    """Return a mask by which each hidden unit sees a square window of an image.

    The windows' places are drawn without repetition until all are taken, and then again.

    Arguments:
        shape: The image's height and width.
        hidden: The number of hidden units.
        size: The window's height and width, in pixels.
        seed: Draws the places.

    Returns:
        Truth values of shape (height * width, hidden).

    Raises:
        ArgumentError: ``shape`` is not a height and a width, a number is not positive, or the window is
            larger than the image.
    """
    if len(shape) != 2:
        raise invalid("shape", shape, "the height and the width of an image")
    height, width = shape
    for name, value in (("shape", height), ("shape", width), ("hidden", hidden), ("size", size)):
        _check_positive(name, value)
    if size > min(height, width):
        raise invalid("size", size, f"at most {min(height, width)}, as the image is {height} x {width}")
    rows, columns = height - size + 1, width - size + 1
    stream = Stream(seed, "mask")
    rounds = -(-hidden // (rows * columns))
    places = torch.cat([stream.permutation(rows * columns) for _ in range(rounds)])[:hidden]
    top, left = places // columns, places % columns
    mask = torch.zeros(hidden, height, width, dtype=torch.bool)
    for unit, (y, x) in enumerate(zip(top.tolist(), left.tolist(), strict=True)):
        mask[unit, y : y + size, x : x + size] = True
    return mask.flatten(1).T.contiguous()


def _check_positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(name, value, "a positive number")
