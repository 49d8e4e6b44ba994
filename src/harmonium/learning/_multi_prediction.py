r"""Multi-prediction: each row's missing units, predicted by mean field from those that are given.

In each update a random part S of a row's units is given, and the others, with the hidden ones, follow by a
few sweeps of mean field; the loss is that of the prediction,

.. math:: -\sum_{i \notin S} \log q_i(v_i), \qquad q = \text{mean field given } v_S,

and its gradient goes back through all sweeps; of real units q is a density. A machine that is trained so
needs neither chains nor layers that are trained one by one; it knows how to fill in what is missing, a label
among it. It is no maximum likelihood, and its samples need not be good.

References:
    | Multi-prediction deep Boltzmann machines (Goodfellow, Mirza, Courville & Bengio, 2013)
"""

from __future__ import annotations

__all__ = ["MultiPrediction"]

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State, inferred_fields
from ..random import Stream
from ..units import Unit
from ._loss_rule import LossRule
from ._rule import Batch

_LABEL = "label"


class MultiPrediction(LossRule):
    """Creates the rule that learns to predict any part of a row from the rest.

    Arguments:
        sweeps: Of mean field, in each update.
        known: The probability that a unit of a row is given; a label counts as one unit.
        label_known: That of a label layer, by default ``known``; with 0 labels are always predicted, as they
            are in use: for the last epochs of a classifier, with more of the other units given.
        label_cost: By what the surprise of a label layer is multiplied: one label says little among hundreds
            of pixels, and more than 1 makes the better classifier.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "multi-prediction"
    sweeps: Annotated[int, Field(ge=1, description="sweeps of mean field in each update")] = 6
    known: Annotated[float, Field(ge=0, lt=1, description="probability that a unit of a row is given")] = 0.5
    label_known: Annotated[
        float | None,
        Field(ge=0, lt=1, description="probability that a label layer is given"),
    ] = None
    label_cost: Annotated[float, Field(gt=0, description="factor of the loss of a label layer")] = 1.0

    def check(self, model: Model) -> None:
        if not isinstance(model, PairwiseModel):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        if not model.hidden_blocks():
            raise invalid("rule", self.name, f"a rule that fits a {model.kind} without hidden units")
        if any(model.lateral(block) is not None for block in model.blocks()):
            raise invalid("rule", self.name, "a rule that fits units coupled within a layer, such as 'pcd'")
        for name, usual in (("label_known", None), ("label_cost", 1)):
            if getattr(self, name) != usual and _LABEL not in model.observed_blocks():
                expected = f"{usual} for a {model.kind} without a label layer"
                raise invalid(name, getattr(self, name), expected)

    def loss(self, model: Model, batch: Batch, state: State, stream: Stream) -> Tensor:
        assert isinstance(model, PairwiseModel)
        data = model.observed(batch.values)
        given = {block: self._given(block, model.layer(block), len(x), stream) for block, x in data.items()}
        known = {block: model.layer(block).expand(units) for block, units in given.items()}
        fields = inferred_fields(model, data, known, self.sweeps)
        losses = [
            _surprise(model.layer(b), x, fields[b], given[b]) * (self.label_cost if b == _LABEL else 1)
            for b, x in data.items()
        ]
        return batch.weights @ torch.stack(losses).sum(0).to(batch.weights)

    def _given(self, block: str, unit: Unit, rows: int, stream: Stream) -> Tensor:
        """Draw which units of a block are given, truth values of shape (rows, size)."""
        known = self.known if block != _LABEL or self.label_known is None else self.label_known
        return stream.uniform(rows, unit.size, device=unit.bias.device) < known


def _surprise(unit: Unit, x: Tensor, field: Tensor, given: Tensor) -> Tensor:
    """Return -log q of the units that are not given, shape (rows), float64; a density's for real ones.

    A given unit is put where its statistics and its field vanish, and what it has there taken off.
    """
    missing = (~unit.expand(given)).to(x)
    return -unit.log_density(x * missing, field * missing) - given.double() @ unit.neutral()
