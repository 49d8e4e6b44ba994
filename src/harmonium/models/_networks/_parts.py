"""Layers whose weights are still to be drawn, how they are drawn, and how images get smaller and larger."""

from __future__ import annotations

__all__ = [
    "Unflatten",
    "conv",
    "deconv",
    "draw_weights",
    "fan_in",
    "full",
    "halvings",
    "linear",
    "normalise",
]

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, skip_init

from ...errors import invalid
from ...random import Stream
from ._spectral import Spectral

_SIDES = range(4, 8)
_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Return a full layer."""
    layer: nn.Linear = skip_init(nn.Linear, inputs, outputs, bias=bias)
    return layer


def conv(inputs: int, outputs: int, size: int = 3, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a convolution that keeps the side of an image, or halves it with a stride of 2."""
    padding = (size - 1) // 2
    layer: nn.Conv2d = skip_init(nn.Conv2d, inputs, outputs, size, stride, padding, bias=bias)
    return layer


def deconv(inputs: int, outputs: int, *, bias: bool = True) -> nn.ConvTranspose2d:
    """Return a transposed convolution that doubles the side of an image."""
    layer: nn.ConvTranspose2d = skip_init(nn.ConvTranspose2d, inputs, outputs, 4, 2, 1, bias=bias)
    return layer


class Unflatten(nn.Module):
    """Creates the layer that makes images of rows of numbers.

    Arguments:
        channels: Their channels.
        base: Their height and width.
    """

    channels_last = False
    """Whether they are to lie in memory pixel by pixel, as those of the layers above it."""

    def __init__(self, channels: int, base: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (channels, *base)

    def forward(self, x: Tensor) -> Tensor:
        """Return images of shape (rows, channels, height, width)."""
        images = x.view(len(x), *self.shape)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images


def full(layer: nn.Linear, images: Tensor) -> Tensor:
    """Return what a full layer makes of images as rows of numbers, shape (rows, outputs).

    Images that lie in memory pixel by pixel stay there, and so do their gradients: it is the weights that
    move. Where the two lay differently, the layer below would be several times as slow.
    """
    if images.ndim != 4 or images.is_contiguous():
        out: Tensor = layer(images.flatten(1))
        return out
    weight = layer.weight.view(-1, *images.shape[1:])
    return nn.functional.linear(_by_pixels(images), _by_pixels(weight), layer.bias)


def _by_pixels(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).flatten(1)


def halvings(name: str, shape: tuple[int, ...]) -> tuple[int, tuple[int, int]]:
    """Return how often the sides of an image can be halved, and the height and the width that are left.

    Arguments:
        name: The family that asks.
        shape: The shape of a row.

    Raises:
        ArgumentError: Rows are no images of one to four channels whose sides fit.
    """
    if len(shape) != 3 or not 1 <= shape[0] <= 4:
        raise invalid("shape", shape, f"images of one to four channels, as (1, 28, 28), for {name} networks")
    times, (height, width) = 0, shape[1:]
    while min(height, width) not in _SIDES and height % 2 == width % 2 == 0 and min(height, width) > 0:
        times, height, width = times + 1, height // 2, width // 2
    if times == 0 or min(height, width) not in _SIDES:
        expected = f"sides that are 4 to 7 times 2, 4, 8, ..., such as 28, 32 or 64, for {name} networks"
        raise invalid("shape", shape, expected)
    return times, (height, width)


def fan_in(layer: nn.Module) -> int:
    """Return how many numbers each output of a layer is a sum over."""
    if isinstance(layer, nn.ConvTranspose2d):
        height, width = layer.kernel_size
        return layer.in_channels * height * width // (layer.stride[0] * layer.stride[1])
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    return layer.weight[0].numel()


@torch.no_grad()
def draw_weights(network: nn.Module, name: str, seed: int, scale: Callable[[nn.Module], float]) -> None:
    """Draw normal weights for all layers, and set their biases to zero.

    Arguments:
        network: The network.
        name: What tells its weights from those of others of the same seed.
        seed: Draws the weights.
        scale: The standard deviation of a layer's weights.
    """
    for place, layer in network.named_modules():
        if isinstance(layer, _WEIGHTED):
            rows = layer.weight.flatten(1)
            drawn = Stream(seed, f"{name} {place}").normal(*rows.shape)
            layer.weight.copy_(scale(layer) * drawn.view_as(layer.weight))
            if layer.bias is not None:
                layer.bias.zero_()


def normalise(network: nn.Module) -> None:
    """Divide the weights of all layers by their spectral norm, whatever they become."""
    for layer in [*network.modules()]:
        if isinstance(layer, _WEIGHTED):
            parametrize.register_parametrization(layer, "weight", Spectral(layer.weight.detach()))
