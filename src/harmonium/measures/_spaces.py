"""The spaces in which rows are compared: features of nets that fit the data set, or the values themselves."""

from __future__ import annotations

__all__ = ["Seen", "Spaces", "open_spaces"]

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from ..datasets import Dataset
from ..errors import ArgumentError
from ..features import (
    Images,
    Inception,
    RandomFeatures,
    class_codes,
    class_names,
    classifier_for,
    images_of,
    suits_nets,
)

NETS = 5

Features: TypeAlias = Callable[[Tensor], Tensor]
"""Makes features of rows, shape (rows, columns)."""


class Seen(NamedTuple):
    """Rows as they are seen in all spaces, shape (rows, columns) in each."""

    main: Tensor
    random: list[Tensor]
    inception: Tensor | None
    classes: Tensor | None
    """The class of each row, from 0 on, shape (rows)."""

    @property
    def untrained(self) -> Tensor:
        """Features that no training row has shaped."""
        return self.random[0] if self.random else self.main


class Spaces(NamedTuple):
    """What makes features of a data set's rows."""

    main: Features
    """For all measures: the classifier's where there are labels, else a random net's, else the values."""
    random: list[Features]
    """Of five random nets, if rows are images."""
    inception: Features | None
    classes: Features | None
    """Tells the class of each row, if there are labels."""
    shares: Tensor | None
    """How many training rows each class has, if there are labels."""
    numbers: Features
    """The values, of which a white pixel is 1."""
    about: dict[str, Any]

    def see(self, rows: Tensor) -> Seen:
        """Return rows as they are seen in all spaces."""
        return Seen(
            main=self.main(rows),
            random=[features(rows) for features in self.random],
            inception=None if self.inception is None else self.inception(rows),
            classes=None if self.classes is None else self.classes(rows),
        )


def open_spaces(
    data: Dataset, seed: int, inception: Inception | None, progress: Callable[[str], None]
) -> Spaces:
    """Return the spaces of a data set.

    Arguments:
        data: The data set.
        seed: Of the classifier and the first random net.
        inception: The network of FID.
        progress: Called with a line now and then.
    """
    if not suits_nets(data):
        if inception is not None:
            got = f"a network, and rows of shape {data.shape} in {data.name}"
            raise ArgumentError(f"inception: got {got}, expected None, as these are no images for it")
        return Spaces(Tensor.double, [], None, None, None, Tensor.double, {"features": "values"})
    blank = images_of(data, "test", 0)
    seeds = [seed + number for number in range(NETS)]
    random = [_of_rows(blank, RandomFeatures(blank.shape[0], each).features) for each in seeds]
    about: dict[str, Any] = {"features": "random net", "random nets": seeds}
    main, classes, shares = random[0], None, None
    if "train" in data.labels:
        net = classifier_for(data, seed=seed, progress=progress)
        main, classes = _of_rows(blank, net.features), _of_rows(blank, net.predict)
        shares = class_codes(data, "train").bincount(minlength=len(class_names(data)))
        told = {"seed": net.seed, "sha256": net.digest, "accuracy": net.accuracy}
        about |= {"features": "classifier", "classifier": told}
    fid = None if inception is None else _of_rows(blank, inception.features)
    if inception is not None:
        about["inception"] = inception.about
    return Spaces(main, random, fid, classes, shares, _of_rows(blank, _values), about)


def _of_rows(blank: Images, function: Callable[[Images], Tensor]) -> Features:
    return lambda rows: function(replace(blank, rows=rows))


def _values(images: Images) -> Tensor:
    return images.rows.float() / images.white
