r"""Classification: the gradient of :math:`-\log p(y \mid v)`, alone or beside that of the joint likelihood.

A visible layer that ends in a label y models the joint distribution p(v, y). To tell y from v one may descend
the conditional loss alone,

.. math:: \frac{\partial}{\partial \theta} \left(-\log p(y \mid v)\right)
    = \sum_{y'} d_{y'}\, E_{h \mid v, y'}\!\left[-\frac{\partial E}{\partial \theta}\right],
    \qquad d_{y'} = p(y' \mid v) - [y' = y],

which is exact: classes are few, and given v and a class the hidden units are independent. As the
:math:`d_{y'}` sum to zero, the energy of v alone cancels. Few labels, or many hidden units, overfit it; the
hybrid loss adds a little of the generative one,

.. math:: -\log p(y \mid v) - \alpha \log p(v, y),

whose gradient is that of contrastive divergence or of persistent chains.

References:
    | Classification using discriminative restricted Boltzmann machines (Larochelle & Bengio, 2008)
    | Learning algorithms for the classification restricted Boltzmann machine
    | (Larochelle, Mandel, Pascanu & Bengio, 2012)
"""

from __future__ import annotations

__all__ = ["Discriminative", "Hybrid"]

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel, State, classify, label_columns
from ..random import Stream
from ._contrastive import CD, PCD, ChainRule
from ._rule import Apply, Batch, Metrics, Rule


class Discriminative(Rule):
    """Creates the rule that descends the loss -log p(y | v) of a label given the other visible units.

    The label is the last part of a mixed visible layer, a categorical unit. The biases of the other visible
    units get no gradient.

    Raises:
        ArgumentError: A setting is unknown.
    """

    name: ClassVar[str] = "discriminative"
    supervised: ClassVar[bool] = True

    def check(self, model: Model) -> None:
        _check(self.name, model)

    def init(self, model: Model, stream: Stream) -> State:
        return {}

    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, PairwiseModel)
        loss = _descend(model, batch, 0.0)
        apply("model")
        return state, {"loss": loss}


class Hybrid(Rule):
    """Creates the rule that descends -log p(y | v) - alpha log p(v, y), the second part by a Markov chain.

    The label is the last part of a mixed visible layer, a categorical unit.

    Arguments:
        alpha: The weight of the generative part.
        method: How to follow it: ``pcd`` or ``cd``.
        steps: Gibbs steps in each update.
        chains: The number of persistent chains, of ``pcd``.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "hybrid"
    supervised: ClassVar[bool] = True
    alpha: Annotated[float, Field(ge=0, description="weight of the generative part of the loss")] = 0.01
    method: Annotated[Literal["pcd", "cd"], Field(description="how the generative part is followed")] = "pcd"
    steps: Annotated[int, Field(ge=1, description="Gibbs steps in each update")] = 1
    chains: Annotated[int, Field(ge=1, description="persistent chains")] = 100

    def check(self, model: Model) -> None:
        _check(self.name, model)

    def init(self, model: Model, stream: Stream) -> State:
        return self.generative().init(model, stream)

    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, PairwiseModel)
        metrics = {}

        def both(group: str) -> None:
            metrics["loss"] = _descend(model, batch, self.alpha)
            apply(group)

        state, _ = self.generative().update(model, batch, state, stream, both)
        return state, metrics

    def generative(self) -> ChainRule:
        """Return the rule of the generative part."""
        return PCD(steps=self.steps, chains=self.chains) if self.method == "pcd" else CD(steps=self.steps)


def _check(name: str, model: Model) -> None:
    if not isinstance(model, PairwiseModel):
        raise invalid("rule", name, f"a rule that fits a {model.kind}")
    label_columns(model)


@torch.no_grad()
def _descend(model: PairwiseModel, batch: Batch, keep: float) -> Tensor:
    """Add the gradients of the mean -log p(y | v) to ``keep`` times those that are there; return the loss."""
    gradients = {name: _scaled(p, keep) for name, p in model.named_parameters() if p.requires_grad}
    columns = label_columns(model)
    label, rest = batch.values[:, columns], batch.values.clone()
    rest[:, columns] = 0
    log_p, moments = classify(model, rest)
    d = (batch.weights[:, None] * (log_p.exp() - label)).to(rest)
    if "visible.bias" in gradients:
        gradients["visible.bias"][columns] += d.sum(0)
    for coupling, weighted in moments:
        over_classes, over_rows = weighted(d)
        if f"{coupling.upper}.bias" in gradients:
            gradients[f"{coupling.upper}.bias"] += over_classes.sum(0)
        if coupling.name in gradients:
            weight, mask = gradients[coupling.name], model.mask(coupling)
            weight.addmm_(rest.T, over_classes)
            weight[columns] += over_rows
            if mask is not None:
                weight *= mask
    return -(batch.weights @ (label * log_p).sum(1).to(batch.weights))


def _scaled(parameter: torch.nn.Parameter, factor: float) -> Tensor:
    """Scale a parameter's gradient in place; make it of zeros if there is none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad.mul_(factor) if factor else parameter.grad.zero_()
