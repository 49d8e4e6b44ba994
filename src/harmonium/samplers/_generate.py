"""Rows from a generator: one pass for each, from latent numbers to what they stand for."""

from __future__ import annotations

__all__ = ["generate"]

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
    if model.classes is not None and codes is None:
        u = stream.uniform(n, 1, device=model.device)[:, 0]
        codes = (u * model.classes).long().clamp(max=model.classes - 1)
    rows = []
    with model.resting():
        for first in range(0, n, _ROWS):
            block = slice(first, first + _ROWS)
            own = None if codes is None else codes[block]
            rows.append(model.values(model.make(z[block], own), own))
    return torch.cat(rows)
