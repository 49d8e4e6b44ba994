"""What can be done to rows of real values once they are split: patches first, then a transform.

Both leave each row in its split. A transform is fitted on the training rows, patches if there are some,
and knows nothing of the others.
"""

from __future__ import annotations

__all__ = ["Change"]

from dataclasses import replace
from typing import NamedTuple

from ..errors import DataError, choose
from ._dataset import Dataset
from ._patches import cut
from ._rows import check_positive, refuse
from ._transform import TRANSFORMS, Transform, check_epsilon


class Change(NamedTuple):
    """Patches, and a transform; false if there is neither.

    Arguments:
        patches: The side of the patches.
        patches_per_image: How many are cut from each image; 1 if not given.
        transform: A name in ``TRANSFORMS``, to be fitted; or one that has been.
        epsilon: The regulariser of one to be fitted; its own if not given.
    """

    patches: int | None
    patches_per_image: int | None
    transform: str | Transform | None
    epsilon: float | None

    def __bool__(self) -> bool:
        return self.patches is not None or self.transform is not None

    def check(self) -> None:
        """Refuse settings that fit no data set, before any work.

        Raises:
            ArgumentError: A number is out of range, or a setting means nothing without another.
        """
        check_positive("patches", self.patches)
        check_positive("patches_per_image", self.patches_per_image)
        if self.patches is None:
            refuse({"patches_per_image": self.patches_per_image}, "None unless patches is stated")
        if self.transform is None:
            refuse({"epsilon": self.epsilon}, "None unless a transform is stated")
            return
        if isinstance(self.transform, Transform):
            refuse({"epsilon": self.epsilon}, "None beside a transform that has been fitted")
            return
        choose("transform", self.transform, TRANSFORMS)
        if self.epsilon is not None:
            check_epsilon(self.epsilon)

    def apply(self, dataset: Dataset) -> Dataset:
        """Return the data set with its rows changed.

        Raises:
            ArgumentError: Patches do not fit into its rows.
            DataError: Its training rows vary too little for the transform, or it is one of other columns.
        """
        if self.patches is not None:
            dataset = cut(dataset, self.patches, self.patches_per_image or 1)
        if self.transform is None:
            return dataset
        fitted = self.transform
        if not isinstance(fitted, Transform):
            fitted = Transform.fit(fitted, dataset.train, self.epsilon)
        elif fitted.columns != dataset.columns:
            got = f"rows of {dataset.columns} columns in {dataset.name}"
            raise DataError(f"transform: got {got}, expected the {fitted.columns} that it was fitted on")
        train, validation, test = map(fitted.apply, (dataset.train, dataset.validation, dataset.test))
        return replace(dataset, train=train, validation=validation, test=test, transform=fitted)
