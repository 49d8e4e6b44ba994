r"""Residual networks without any normalisation, whose first weights keep all signals at their scale instead.

Both networks are the same, upside down. A block is

.. math:: x + W_3 * f(W_2 * f(W_1 * x))

with W_1 and W_3 of size 1 and W_2 of size 3, and f a leaky ReLU. The last weights of each block begin at
zero, so that the whole network begins as a shallow one, and the others are scaled by :math:`L^{-1/4}` for L
blocks: updates then change the output by as much as if there were one. No mean over a batch couples its rows,
so that gradient penalties mean what they say. Blocks work below the full side of the image alone; what leads
there is one strided layer, which makes the networks quick on a CPU.

References:
    | The GAN is dead; long live the GAN! A modern GAN baseline (Huang, Gokaslan, Kuleshov & Tompkin, 2024)
    | Fixup initialization: residual learning without normalization (Zhang, Dauphin & Ma, 2019)
"""

from __future__ import annotations

__all__ = ["Modern"]

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ._family import Discriminator, Family, Generator, Rows
from ._parts import Unflatten, conv, deconv, draw_weights, fan_in, halvings, linear

_SLOPE = 0.2
_MOST = 4


class Modern(Family):
    """Creates a family of residual networks without normalisation.

    Arguments:
        latent: How many latent numbers the generator takes.
        width: Channels at half the side of the image; twice as many at each further half, up to four times.
        blocks: Blocks at each side.

    Raises:
        ArgumentError: A setting is out of range.
    """

    name: ClassVar[str] = "modern"
    width: Annotated[
        int, Field(ge=1, description="channels at half the image's side, doubled at each halving up to 4x")
    ] = 48
    blocks: Annotated[int, Field(ge=0, description="blocks at each side of the image")] = 1

    def generator(self, rows: Rows, seed: int = 0) -> Generator:
        times, base = halvings(self.name, rows.shape)
        widths = self._widths(times)[::-1]
        parts: list[nn.Module] = [linear(self.inputs(rows), widths[0] * base[0] * base[1])]
        parts += [Unflatten(widths[0], base), *self._blocks(widths[0])]
        for above, below in pairwise(widths):
            larger = nn.Upsample(scale_factor=2, mode="bilinear")
            parts += [conv(above, below, 1), larger, *self._blocks(below)]
        parts += [nn.LeakyReLU(_SLOPE), deconv(widths[-1], rows.shape[0])]
        network = Generator(self, rows, nn.Sequential(*parts))
        self._draw(network, "generator", seed)
        return network

    def discriminator(self, rows: Rows, seed: int = 0) -> Discriminator:
        times, base = halvings(self.name, rows.shape)
        widths = self._widths(times)
        parts: list[nn.Module] = [conv(rows.shape[0], widths[0], 4, stride=2), nn.LeakyReLU(_SLOPE)]
        parts += self._blocks(widths[0])
        for below, above in pairwise(widths):
            parts += [nn.AvgPool2d(2), conv(below, above, 1), *self._blocks(above)]
        parts.append(nn.LeakyReLU(_SLOPE))
        network = Discriminator(self, rows, nn.Sequential(*parts), widths[-1] * base[0] * base[1])
        self._draw(network, "discriminator", seed)
        return network

    def _widths(self, times: int) -> list[int]:
        """Return the channels at each half of the side, next to the image first."""
        return [self.width * min(2**number, _MOST) for number in range(times)]

    def _blocks(self, width: int) -> Iterator[nn.Module]:
        return (Block(width) for _ in range(self.blocks))

    @torch.no_grad()
    def _draw(self, network: nn.Module, name: str, seed: int) -> None:
        """Draw the weights: within a block smaller the more blocks there are, and its last ones zero."""
        blocks = [part for part in network.modules() if isinstance(part, Block)]
        within = {layer for block in blocks for layer in block.modules()}
        gain = math.sqrt(2 / (1 + _SLOPE**2))

        def scale(layer: nn.Module) -> float:
            own = 1 / math.sqrt(fan_in(layer))
            return own * gain * len(blocks) ** -0.25 if layer in within else own

        draw_weights(network, name, seed, scale)
        for block in blocks:
            block.last.weight.zero_()


class Block(nn.Module):
    """Creates a residual block of so many channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.middle, self.last = conv(width, width, 1), conv(width, width), conv(width, width, 1)
        self.bend = nn.LeakyReLU(_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Return the images with what the block adds to them."""
        out: Tensor = x + self.last(self.bend(self.middle(self.bend(self.first(x)))))
        return out
