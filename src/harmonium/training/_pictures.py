"""Pictures of the chains of a run, one grid of images at a time."""

from __future__ import annotations

__all__ = ["Pictures"]

from pathlib import Path

import torch
from torch import Tensor

from ..models import GenerativeModel, Model, PairwiseModel, State
from ..samplers import sample

_IMAGES = 100
_STEPS = 200


class Pictures:
    """Creates the painter of a run's chains.

    Shown are the visible means given the chains' hidden states, or codes for categorical units. A rule
    that keeps no chains is shown by short ones that start from training rows.

    Arguments:
        path: The folder of the pictures.
        shape: The height and the width of an image.
        rows: Training rows of shape (rows, size), the image first.
    """

    def __init__(self, path: Path, shape: tuple[int, int], rows: Tensor) -> None:
        self.path, self.shape, self.rows = path, shape, rows[:_IMAGES]
        self.pixels = slice(shape[0] * shape[1])

    @torch.no_grad()
    def write(self, model: Model, state: State, epoch: int) -> None:
        """Write the picture of an epoch."""
        from ..plots import save_grid

        unit = model.visible
        if isinstance(model, PairwiseModel) and "chain.visible" in state:
            chains = {block: state[f"chain.{block}"][:_IMAGES] for block in model.blocks()}
            images = model.layer("visible").mean(model.field("visible", chains))
        else:
            assert isinstance(model, GenerativeModel)
            n = len(self.rows)
            images = sample(model, n, steps=_STEPS, start=self.rows, means=True)
        if unit.width != unit.size:
            images = unit.values(images)
        path = self.path / f"epoch-{epoch:05d}.png"
        save_grid(images[:, self.pixels], self.shape, path, limits=self._limits(model), overwrite=True)

    def _limits(self, model: Model) -> tuple[float, float] | None:
        """Return the values of black and white, if they are not those of bits or spins."""
        unit = model.visible
        support = unit.support()
        if support is None:
            pixels = self.rows[:, self.pixels]
            low, high = float(pixels.min()), float(pixels.max())
            return low, max(high, low + 1e-6)
        return (0, len(support) - 1) if unit.width != unit.size else None
