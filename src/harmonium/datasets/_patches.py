"""Square patches of images, cut where a named stream says.

Patch :math:`k` of image :math:`i` has its corner at a place that is uniform among all at which it fits,
independently of the others, so that patches may overlap. The place is addressed by (seed, split, image,
patch): more patches of an image, or more images, do not move those that there were. Images keep to their
splits, and so do their patches. Values stay what they were, as float32.
"""

from __future__ import annotations

__all__ = ["cut"]

from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ArgumentError, invalid
from ..random import Stream
from ._dataset import Dataset

BLOCK = 512


def cut(dataset: Dataset, size: int, per_image: int) -> Dataset:
    """Return the data set of patches; those of an image follow each other and have its label.

    Arguments:
        dataset: Rows that are images, of shape (height, width) or (channels, height, width).
        size: The height and the width of a patch.
        per_image: How many patches are cut from each image.

    Raises:
        ArgumentError: Rows are no images, or smaller than a patch.
    """
    if len(dataset.shape) not in (2, 3):
        raise ArgumentError(
            f"patches: got rows of shape {dataset.shape} in {dataset.name}, "
            "expected (height, width) or (channels, height, width)"
        )
    *channels, height, width = dataset.shape
    if size > min(height, width):
        raise invalid("patches", size, f"at most {min(height, width)}: images have {height} x {width} pixels")
    stream = Stream(dataset.seed).child("patches")
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    train, validation, test = (
        _cut(rows, dataset.shape, size, per_image, stream.child(split)) for split, rows in splits.items()
    )
    labels = {split: marks.repeat_interleave(per_image) for split, marks in dataset.labels.items()}
    shape = (*channels, size, size)
    return replace(dataset, train=train, validation=validation, test=test, labels=labels, shape=shape)


def _cut(rows: Tensor, shape: tuple[int, ...], size: int, per_image: int, stream: Stream) -> Tensor:
    """Return the patches of images as rows of float32."""
    channels, height, width = shape if len(shape) == 3 else (1, *shape)
    n = len(rows)
    windows = rows.view(n, channels, height, width).unfold(2, size, 1).unfold(3, size, 1)
    places = stream.uniform(n, 2 * per_image, torch.float64).view(n, per_image, 2)
    top, left = ((places[..., i] * windows.shape[2 + i]).long() for i in (0, 1))
    out = torch.empty(n, per_image, channels * size * size)
    for start in range(0, n, BLOCK):
        images = torch.arange(start, min(start + BLOCK, n))
        out[images] = windows[images[:, None], :, top[images], left[images]].flatten(2).float()
    return out.view(n * per_image, channels * size * size)
