"""Residual networks, as they came with spectral normalisation.

A block adds two convolutions to what comes in. The generator's blocks double the side of the image and
normalise over the batch; those of the discriminator halve it, but for the last two, and all its weights have
a spectral norm of 1. Its features are the sums of the last channels over the image.

References:
    | Spectral normalization for generative adversarial networks (Miyato, Kataoka, Koyama & Yoshida, 2018)
"""

from __future__ import annotations

__all__ = ["ResNet"]

import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ._family import Discriminator, Family, Generator, Rows
from ._parts import Unflatten, conv, draw_weights, fan_in, halvings, linear, normalise

_PLAIN = 2


class ResNet(Family):
    """Creates a family of residual networks.

    Arguments:
        latent: How many latent numbers the generator takes.
        width: Channels of all layers.

    Raises:
        ArgumentError: A setting is out of range.
    """

    name: ClassVar[str] = "resnet"
    latent: Annotated[int, Field(ge=1, description="how many latent numbers the generator takes")] = 128
    width: Annotated[int, Field(ge=1, description="channels of all layers")] = 64

    def generator(self, rows: Rows, seed: int = 0) -> Generator:
        times, base = halvings(self.name, rows.shape)
        parts: list[nn.Module] = [linear(self.inputs(rows), self.width * base[0] * base[1])]
        parts.append(Unflatten(self.width, base))
        parts += [_Up(self.width) for _ in range(times)]
        parts += [nn.BatchNorm2d(self.width), nn.ReLU(), conv(self.width, rows.shape[0])]
        network = Generator(self, rows, nn.Sequential(*parts, *([nn.Tanh()] if rows.bounded else [])))
        draw_weights(network, "generator", seed, _scale)
        return network

    def discriminator(self, rows: Rows, seed: int = 0) -> Discriminator:
        times, _ = halvings(self.name, rows.shape)
        parts: list[nn.Module] = [_Down(rows.shape[0], self.width, first=True)]
        parts += [_Down(self.width, self.width) for _ in range(times - _PLAIN)]
        parts += [_Down(self.width, self.width, halve=False) for _ in range(_PLAIN)]
        network = Discriminator(self, rows, nn.Sequential(*parts, nn.ReLU(), _Sum()), self.width)
        draw_weights(network, "discriminator", seed, _scale)
        normalise(network)
        return network


class _Up(nn.Module):
    """Creates a block that doubles the side of an image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        larger = nn.Upsample(scale_factor=2)
        self.branch = nn.Sequential(
            *(nn.BatchNorm2d(width), nn.ReLU(), larger, conv(width, width)),
            *(nn.BatchNorm2d(width), nn.ReLU(), conv(width, width)),
        )
        self.shortcut = nn.Sequential(larger, conv(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.branch(x)
        return out


class _Down(nn.Module):
    """Creates a block that halves the side of an image, unless it is to keep it."""

    def __init__(self, inputs: int, outputs: int, *, halve: bool = True, first: bool = False) -> None:
        super().__init__()
        smaller: list[nn.Module] = [nn.AvgPool2d(2)] if halve else []
        before: list[nn.Module] = [] if first else [nn.ReLU()]
        self.branch = nn.Sequential(
            *before, conv(inputs, outputs), nn.ReLU(), conv(outputs, outputs), *smaller
        )
        changes: list[nn.Module] = [conv(inputs, outputs, 1)] if halve else []
        self.shortcut = nn.Sequential(*changes, *smaller)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut(x) + self.branch(x)
        return out


class _Sum(nn.Module):
    """Creates the layer that sums each channel over the image."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3))


def _scale(layer: nn.Module) -> float:
    return math.sqrt(1 / fan_in(layer))
