r"""Changes of images that both players see, so that a discriminator cannot learn few rows by heart.

Rows of data and made ones are changed by the same law before the discriminator sees them, and gradients go
through the change: the generator learns to make what looks like data once both are changed. Each image draws
its own:

* ``colour``: brightness, up to a quarter of the range up or down; saturation, 0 to 2 times; contrast, 1/2 to
  3/2 times;
* ``translation``: a shift by up to an eighth of its sides, with zeros coming in;
* ``cutout``: a square of half its sides, somewhere, becomes zero.

References:
    | Differentiable augmentation for data-efficient GAN training (Zhao, Liu, Lin, Zhu & Han, 2020)
"""

from __future__ import annotations

__all__ = ["AUGMENTATIONS", "augment"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..random import Stream

_SHIFT, _CUT = 8, 2


def augment(x: Tensor, names: Sequence[str], stream: Stream) -> Tensor:
    """Return changed images, shape (rows, channels, height, width).

    Arguments:
        x: Images whose values lie around zero, of that shape.
        names: What to change, by name in ``AUGMENTATIONS``.
        stream: Draws the changes, of each image its own.
    """
    for name in names:
        x = AUGMENTATIONS[name](x, stream)
    return x


def _colour(x: Tensor, stream: Stream) -> Tensor:
    light, saturation, contrast = (t.view(-1, 1, 1, 1) for t in _uniform(x, 3, stream).unbind(1))
    x = x + (light - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + 2 * saturation * (x - grey)
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (contrast + 0.5) * (x - middle)


def _translation(x: Tensor, stream: Stream) -> Tensor:
    height, width = x.shape[2:]
    u = _uniform(x, 2, stream)
    most = ((n + _SHIFT // 2) // _SHIFT for n in (height, width))
    down, right = (_whole(u[:, i], -own, own) for i, own in enumerate(most))
    rows, columns = (_range(n, x) - shift[:, None] for n, shift in ((height, down), (width, right)))
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    image = torch.arange(len(x), device=x.device)[:, None, None]
    place = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    moved = x.permute(0, 2, 3, 1)[image, *place] * inside[..., None]
    return moved.permute(0, 3, 1, 2)


def _cutout(x: Tensor, stream: Stream) -> Tensor:
    u = _uniform(x, 2, stream)
    covered = []
    for i, n in enumerate(x.shape[2:]):
        side = max(1, n // _CUT)
        first = _whole(u[:, i], -(side // 2), n - side + side // 2)[:, None]
        place = _range(n, x)
        covered.append((place >= first) & (place < first + side))
    return x * ~(covered[0][:, :, None] & covered[1][:, None])[:, None]


def _uniform(x: Tensor, columns: int, stream: Stream) -> Tensor:
    return stream.uniform(len(x), columns, x.dtype, x.device)


def _whole(u: Tensor, low: int, high: int) -> Tensor:
    """Return whole numbers from ``low`` to ``high``, given uniform ones, shape (rows)."""
    return (low + u * (high - low + 1)).floor().long().clamp(max=high)


def _range(n: int, x: Tensor) -> Tensor:
    return torch.arange(n, device=x.device)[None]


AUGMENTATIONS: dict[str, Callable[[Tensor, Stream], Tensor]] = {
    "colour": _colour,
    "translation": _translation,
    "cutout": _cutout,
}
"""The changes by name."""
