"""A small convolutional classifier: its last hidden layer makes features, and its guesses count classes.

Two convolutions that halve the image, one that does not, and a layer of 128 units, all with rectifiers.
First weights are those of He et al.; they and the order of the rows are a function of the seed, so that a
training is repeated bit for bit by the same build of torch with as many threads.
"""

from __future__ import annotations

__all__ = ["Classifier", "digest_of", "train_classifier"]

from collections.abc import Callable
from hashlib import sha256
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..errors import DataError, invalid
from ..random import Stream
from ._images import Images

WIDTHS = (32, 64, 64)
POOLED = 7
FEATURES = 128


class Classifier(nn.Module):
    """Creates a classifier of images.

    Arguments:
        shape: That of an image: (channels, height, width).
        classes: How many there are.
        seed: Draws the first weights.
    """

    accuracy: float | None = None
    """The share of validation rows that were guessed right after the training, if there were some."""

    def __init__(self, shape: tuple[int, int, int], classes: int, seed: int = 0) -> None:
        super().__init__()
        self.shape, self.classes, self.seed = shape, classes, seed
        first, second, third = WIDTHS
        self.hidden = nn.Sequential(
            nn.Conv2d(shape[0], first, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(POOLED),
            nn.Flatten(),
            nn.Linear(third * POOLED**2, FEATURES),
            nn.ReLU(),
        )
        self.output = nn.Linear(FEATURES, classes)
        _draw_weights(self, Stream(seed).child("classifier").child("weights"))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images in [0, 1], shape (images, classes)."""
        logits: Tensor = self.output(self.hidden(2 * images - 1))
        return logits

    def features(self, images: Images) -> Tensor:
        """Return the features of images, shape (images, 128)."""
        return images.map(lambda x: self.hidden(2 * x - 1))

    def predict(self, images: Images) -> Tensor:
        """Return the most probable class of each image, shape (images)."""
        return images.map(lambda x: self(x).argmax(1))

    @property
    def digest(self) -> str:
        """A hash of the weights, which tells this classifier from others."""
        return digest_of(self)


def digest_of(net: nn.Module) -> str:
    """Return a hash of a net's weights."""
    total = sha256()
    for name, tensor in sorted(net.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()[:16]


def train_classifier(
    images: Images,
    labels: Tensor,
    classes: int,
    *,
    seed: int = 0,
    epochs: int = 3,
    batch_size: int = 100,
    lr: float = 0.002,
    progress: Callable[[str], None] | None = None,
) -> Classifier:
    """Train a classifier of images by Adam, with a rate that falls to zero.

    Arguments:
        images: The training rows.
        labels: The class of each, from 0 on, shape (rows).
        classes: How many there are.
        seed: Of the first weights and the order of the rows.
        epochs: How often each row is shown.
        batch_size: Rows in an update.
        lr: The first rate.
        progress: Called with a line now and then.

    Raises:
        ArgumentError: ``epochs`` or ``batch_size`` is not positive.
        DataError: There are not as many labels as rows, or one that is no class.
    """
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise invalid(name, value, "a positive number")
    if labels.shape != (len(images),):
        raise DataError(f"labels: got shape {tuple(labels.shape)}, expected ({len(images)},)")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        got = f"{int(labels.min())} to {int(labels.max())}"
        raise DataError(f"labels: got {got}, expected classes from 0 to {classes - 1}")
    net = Classifier(images.shape, classes, seed)
    order = Stream(seed).child("classifier").child("order")
    updates = epochs * -(-len(images) // batch_size)
    optimiser = torch.optim.Adam(net.parameters(), lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda done: 1 - done / updates)
    for epoch in range(epochs):
        for index in order.permutation(len(images)).split(batch_size):
            optimiser.zero_grad()
            cross_entropy(net(images.take(index)), labels[index]).backward()
            optimiser.step()
            schedule.step()
        if progress is not None:
            progress(f"classifier: epoch {epoch + 1} of {epochs}")
    return net.requires_grad_(False)


@torch.no_grad()
def _draw_weights(net: nn.Module, stream: Stream) -> None:
    """Draw weights of variance 2 / inputs, and set biases to zero."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            size = part.weight[0].numel()
            part.weight.copy_(sqrt(2 / size) * stream.normal(len(part.weight), size).view_as(part.weight))
            assert part.bias is not None
            part.bias.zero_()
