r"""Rows from a generator: one pass for each, from latent numbers to what they stand for.

On the way from one normal latent point to another independent one,

.. math:: z(t) = \cos(\tfrac{\pi}{2} t)\, z_0 + \sin(\tfrac{\pi}{2} t)\, z_1

is normal itself at each t, as what the generator was trained on; uniform points are joined by straight lines.
"""

from __future__ import annotations

__all__ = ["generate", "interpolate"]

import math
from contextlib import nullcontext

import torch
from torch import Tensor

from ..models import GAN
from ..random import Stream

_ROWS = 256


@torch.no_grad()
def generate(model: GAN, n: int, stream: Stream, codes: Tensor | None = None) -> Tensor:
    """Draw rows from a generator, shape (n, size), the code of the class last where there are some.

    Arguments:
        model: The network.
        n: The number of rows.
        stream: Draws the latent numbers, and the classes if they are not given.
        codes: The codes of the classes, shape (n); by default each is as likely as the others.
    """
    z = model.latents(n, stream)
    return _made(model, z, _codes(model, n, stream) if codes is None else codes, stream)


@torch.no_grad()
def interpolate(model: GAN, n: int, steps: int, stream: Stream) -> Tensor:
    """Return rows on the way between latent points, shape (n * steps, size), one way after the other.

    Arguments:
        model: The network.
        n: The number of ways.
        steps: The number of points on each, both ends included.
        stream: Draws the ends, and the class of each way where there are some.
    """
    first, last = model.latents(n, stream)[:, None], model.latents(n, stream)[:, None]
    t = torch.linspace(0, 1, steps, dtype=first.dtype, device=first.device)[:, None]
    if model.law == "normal":
        z = torch.cos(0.5 * math.pi * t) * first + torch.sin(0.5 * math.pi * t) * last
    else:
        z = torch.lerp(first, last, t)
    codes = _codes(model, n, stream)
    return _made(model, z.flatten(0, 1), None if codes is None else codes.repeat_interleave(steps), stream)


def _codes(model: GAN, n: int, stream: Stream) -> Tensor | None:
    """Draw the codes of classes, each as likely as the others, where there are some."""
    if model.classes is None:
        return None
    u = stream.uniform(n, 1, device=model.device)[:, 0]
    return (u * model.classes).long().clamp(max=model.classes - 1)


def _made(model: GAN, z: Tensor, codes: Tensor | None, stream: Stream) -> Tensor:
    """Return the rows of latent points, some at a time; networks of one's own may draw on the way."""
    rows = []
    with model.resting(), stream.seeding(model.device) if model.foreign else nullcontext():
        for first in range(0, len(z), _ROWS):
            block = slice(first, first + _ROWS)
            own = None if codes is None else codes[block]
            rows.append(model.values(model.make(z[block], own), own))
    return torch.cat(rows)
