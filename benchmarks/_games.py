"""Networks of others, written from their published descriptions, to be played beside the library's own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

import harmonium as hm

SHAPE = (1, 28, 28)


def dcgan_example(seed: int) -> hm.GAN:
    """Return networks as in the public PyTorch DCGAN example, cut from 64 x 64 pixels to 28 x 28.

    Convolutions of 4 x 4, batch normalisation in both players, 64 channels next to the image, weights of
    N(0, 0.02^2), 100 normal latent numbers.
    """
    width = 64
    generator = nn.Sequential(
        Image(100),
        nn.ConvTranspose2d(100, 4 * width, 7, 1, 0, bias=False),
        nn.BatchNorm2d(4 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, 1, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, width, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 1, 7, 1, 0, bias=False),
        nn.Flatten(),
    )
    for number, layer in enumerate([*generator, *discriminator]):
        draw(layer, 0.02, hm.Stream(seed, f"layer {number}"))
    return hm.GAN(generator, discriminator, latent=100, shape=SHAPE, channels_last=False)


def wgan_gp(seed: int) -> hm.GAN:
    """Return networks as those that WGAN-GP was shown on MNIST with.

    Convolutions of 5 x 5, 64 channels next to the image, no normalisation in the critic, 128 normal latent
    numbers; the generator's sides are 4, 7, 14 and 28.
    """
    width = 64
    generator = nn.Sequential(
        nn.Linear(128, 4 * width * 16),
        nn.ReLU(),
        nn.Unflatten(1, (4 * width, 4, 4)),
        nn.ConvTranspose2d(4 * width, 2 * width, 5, 2, 2),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 5, 2, 2, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 1, 5, 2, 2, output_padding=1),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(1, width, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * width, 4 * width, 5, 2, 2),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(4 * width * 16, 1),
    )
    for number, layer in enumerate([*generator, *discriminator]):
        weight = getattr(layer, "weight", None)
        if weight is not None:
            fan_in = weight[0].numel() if isinstance(layer, nn.Linear | nn.Conv2d) else weight[:, 0].numel()
            strides = 4 if isinstance(layer, nn.ConvTranspose2d) else 1
            draw(layer, (2 * strides / fan_in) ** 0.5, hm.Stream(seed, f"layer {number}"))
    return hm.GAN(generator, discriminator, latent=128, shape=SHAPE, channels_last=False)


class Image(nn.Module):
    """Creates a layer that makes images of one pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, z: Tensor) -> Tensor:
        """Return latent numbers as images, shape (rows, channels, 1, 1)."""
        return z.view(len(z), self.channels, 1, 1)


def draw(layer: nn.Module, scale: float, stream: hm.Stream) -> None:
    """Draw the weights of a layer from N(0, scale^2), those of a normalisation about 1; no biases."""
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if weight is not None:
        noise = scale * stream.normal(len(weight), weight[0].numel()).view_as(weight)
        weight.data = noise + 1 if isinstance(layer, nn.BatchNorm2d) else noise
    if bias is not None:
        bias.data.zero_()


OTHERS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "DCGAN example": (
        dcgan_example,
        {"loss": "nonsaturating"},
        {"lr": 2e-4, "betas": (0.5, 0.999), "batch_size": 64, "averaging": 0.0},
    ),
    "WGAN-GP": (
        wgan_gp,
        {"loss": "wasserstein", "discriminator_steps": 5, "gradient_penalty": 10.0},
        {"lr": 1e-4, "betas": (0.5, 0.9), "batch_size": 50, "averaging": 0.0},
    ),
}
"""Networks, arguments of the rule and options of the fit, by name."""
