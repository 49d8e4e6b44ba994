"""The classifier of a data set: trained once, kept in the cache, and found there again.

Its file is named by a hash of all that made it: the rows, their labels, the seed, the settings. It is in
the folder ``features`` of the cache (``$HARMONIUM_CACHE``, by default ``~/.cache/harmonium``).
"""

from __future__ import annotations

__all__ = ["Labelled", "class_codes", "class_names", "classifier_for"]

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..datasets import Dataset, cache_folder
from ..errors import DataError, FileError
from ..files import load_tensors, save_tensors
from ._classifier import Classifier, train_classifier
from ._images import Images, images_of, training_images
from ._stacked import ByChannel, digits

STACKED = "stacked-mnist"
DIGITS, HELD_OUT = 60_000, 10_000
EPOCHS, SHOWN = 3, 20_000
"""How often rows are shown to a classifier at least, each and together."""
VERSION = 1


class Labelled(Protocol):
    """What makes features of images and tells their classes."""

    @property
    def seed(self) -> int:
        """That of the training."""

    @property
    def digest(self) -> str:
        """A hash of the weights."""

    @property
    def accuracy(self) -> float | None:
        """The share of validation rows that are guessed right, if there are some."""

    def features(self, images: Images) -> Tensor:
        """Return features, shape (images, columns)."""

    def predict(self, images: Images) -> Tensor:
        """Return classes, shape (images)."""


def classifier_for(
    data: Dataset,
    *,
    seed: int = 0,
    epochs: int | None = None,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Labelled:
    """Return a classifier of a data set's training rows, from the cache if it is there.

    That of stacked digits reads each channel by itself.

    Arguments:
        data: The data set: images with labels.
        seed: Of the training.
        epochs: How often each row is shown; by default three times, and more often where rows are few, so
            that 20,000 are shown in all.
        folder: Where it is kept, in place of the cache.
        progress: Called with a line now and then.

    Raises:
        DataError: There are no labels, or rows are no images.
        FileError: The file in the cache is damaged, or the cache cannot be written.
    """
    if "train" not in data.labels:
        raise DataError(f"data: got no labels of the training rows of {data.name}, expected some")
    if epochs is None:
        epochs = max(EPOCHS, -(-SHOWN // max(1, len(data.train))))
    settings = _Settings(seed, epochs)
    place = Path(folder) if folder is not None else cache_folder() / "features"
    if data.name == STACKED:
        train, held_out = digits(data, "train", DIGITS), digits(data, "validation", HELD_OUT)
        return ByChannel(_kept(place, train, held_out, 10, settings, progress))
    train = training_images(data), class_codes(data, "train")
    held_out = images_of(data, "validation"), class_codes(data, "validation")
    return _kept(place, train, held_out, len(class_names(data)), settings, progress)


def class_names(data: Dataset) -> Tensor:
    """Return the labels of a data set in the order of the classes that a classifier of it tells, int64."""
    if data.name == STACKED:
        return torch.arange(1000)
    return torch.cat(list(data.labels.values())).unique()


def class_codes(data: Dataset, split: str) -> Tensor:
    """Return the class of each row of a split, from 0 on, shape (rows); none where it has no labels."""
    none = torch.empty(0, dtype=torch.int64)
    return torch.searchsorted(class_names(data), data.labels.get(split, none))


class _Settings(NamedTuple):
    seed: int
    epochs: int


def _kept(
    place: Path,
    train: tuple[Images, Tensor],
    held_out: tuple[Images, Tensor],
    classes: int,
    settings: _Settings,
    progress: Callable[[str], None] | None,
) -> Classifier:
    """Return the classifier that a file holds, or train it and write the file."""
    made = {"version": VERSION, **settings._asdict(), "classes": classes, "rows": _fingerprint(*train)}
    name = sha256(repr(sorted(made.items())).encode()).hexdigest()[:16]
    path = place / f"classifier-{name}.safetensors"
    if path.is_file():
        tensors, content = load_tensors(path, "classifier")
        net = Classifier(train[0].shape, classes, settings.seed).requires_grad_(False)
        net.load_state_dict(tensors)
        net.accuracy = content["accuracy"]
        return net
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"{place}: cannot be made ({error.strerror or error})") from error
    net = train_classifier(*train, classes, **settings._asdict(), progress=progress)
    images, labels = held_out
    if len(labels):
        net.accuracy = float((net.predict(images) == labels).double().mean())
    save_tensors(path, "classifier", net.state_dict(), {**made, "accuracy": net.accuracy})
    return net


def _fingerprint(images: Images, labels: Tensor) -> str:
    """Return a hash of images and their labels."""
    digest = sha256(f"{images.shape} {images.white} {images.rows.dtype}".encode())
    for block in (*images.rows.split(4096), labels):
        digest.update(block.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
