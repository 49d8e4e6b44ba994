"""What a classifier sees beside its inputs, found once for rows that are shown alike in every epoch.

A deep Boltzmann machine's classifier sees means that mean field takes many products to find, and that stay as
they are while it learns.
"""

from __future__ import annotations

__all__ = ["Beside", "kept_beside"]

import torch
from torch import Tensor

from ..models import MLP, Model
from ._source import Source

_MOST = 1 << 30


class Beside:
    """Creates what a classifier sees beside the inputs of all training rows.

    Arguments:
        model: The classifier.
        source: Of its batches, which shows rows alike in every epoch.
    """

    def __init__(self, model: MLP, source: Source) -> None:
        self.model, self.source = model, source
        self._found: Tensor | None = None

    def of(self, rows: Tensor) -> Tensor:
        """Return what is seen beside the inputs of rows, shape (rows, columns).

        Arguments:
            rows: Their numbers, shape (rows).
        """
        if self._found is None:
            blocks = [_evaluated(self.model, values) for values, _ in self.source.blocks()]
            self._found = torch.cat([block for block in blocks if block is not None])
        return self._found[rows.to(self._found.device)]


def kept_beside(model: Model, source: Source) -> Beside | None:
    """Return what a classifier sees beside the inputs of training rows, where it is worth keeping, or None.

    It is not where there is nothing beside them, where rows change with the epochs, and above a gibibyte.
    """
    if not isinstance(model, MLP) or not model.beside_width or not source.steady:
        return None
    size = len(source.rows) * model.beside_width * model.inputs.bias.element_size()
    return Beside(model, source) if size <= _MOST else None


@torch.no_grad()
def _evaluated(model: MLP, values: Tensor) -> Tensor | None:
    """Return what a classifier sees beside the inputs of rows when it is evaluated; None for nothing."""
    training = model.training
    try:
        return model.eval().beside(model.split(values.to(model.device))[0])
    finally:
        model.train(training)
