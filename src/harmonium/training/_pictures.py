"""Pictures of the chains of a run, or of what its generator makes, one grid of images at a time."""

from __future__ import annotations

__all__ = ["Pictures"]

import math
from pathlib import Path

import torch
from torch import Tensor

from ..models import GAN, GenerativeModel, Model, PairwiseModel, State
from ..random import Stream
from ..samplers import generate, sample

_IMAGES = 100
_STEPS = 200


class Pictures:
    """Creates the painter of a run.

    Shown are the visible means given the chains' hidden states, or codes for categorical units. A rule
    that keeps no chains is shown by short ones that start from training rows; a generator by what it makes of
    the same latent numbers each time, one class after the other where there are some.

    Arguments:
        path: The folder of the pictures.
        shape: The height and the width of an image, or (3, height, width).
        rows: Training rows of shape (rows, size), the image first.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], rows: Tensor) -> None:
        self.path, self.shape, self.rows = path, shape, rows[:_IMAGES]
        self.pixels = slice(math.prod(shape))

    @torch.no_grad()
    def write(self, model: Model, state: State, epoch: int) -> None:
        """Write the picture of an epoch."""
        from ..plots import save_grid

        images = self._made(model) if isinstance(model, GAN) else self._drawn(model, state)
        path = self.path / f"epoch-{epoch:05d}.png"
        save_grid(images[:, self.pixels], self.shape, path, limits=self._limits(model), overwrite=True)

    def _made(self, model: GAN) -> Tensor:
        codes = None if model.classes is None else torch.arange(_IMAGES, device=model.device) % model.classes
        return generate(model, _IMAGES, Stream(0, "pictures"), codes)

    def _drawn(self, model: Model, state: State) -> Tensor:
        unit = model.visible
        if isinstance(model, PairwiseModel) and "chain.visible" in state:
            chains = {block: state[f"chain.{block}"][:_IMAGES] for block in model.blocks()}
            images = model.layer("visible").mean(model.field("visible", chains))
        else:
            assert isinstance(model, GenerativeModel)
            n = len(self.rows)
            images = sample(model, n, steps=_STEPS, start=self.rows, means=True)
        return images if unit.width == unit.size else unit.values(images)

    def _limits(self, model: Model) -> tuple[float, float] | None:
        """Return the values of black and white, if they are not those of bits or spins."""
        unit = model.visible
        support = unit.support()
        if support is None:
            pixels = self.rows[:, self.pixels]
            low, high = float(pixels.min()), float(pixels.max())
            return low, max(high, low + 1e-6)
        return (0, len(support) - 1) if unit.width != unit.size else None
