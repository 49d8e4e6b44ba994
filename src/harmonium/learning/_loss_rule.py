"""Rules that descend the gradient of a loss, found by autograd."""

from __future__ import annotations

__all__ = ["LossRule"]

from abc import abstractmethod

import torch
from torch import Tensor

from ..models import Model, State
from ..random import Stream
from ._rule import Apply, Batch, Metrics, Rule


class LossRule(Rule):
    """Abstract rule with a loss; its metrics hold the loss of each update."""

    @abstractmethod
    def loss(self, model: Model, batch: Batch, state: State, stream: Stream) -> Tensor:
        """Return the loss of a batch: the sum over rows of their shares times their losses, a scalar.

        Arguments:
            model: The model.
            batch: Rows of data.
            state: The rule's state.
            stream: Where the random bits come from.
        """

    def init(self, model: Model, stream: Stream) -> State:
        return {}

    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        groups = self.parameters(model, state)
        parameters = [p for group in groups.values() for p in group.values()]
        with torch.enable_grad():
            loss = self.loss(model, batch, state, stream)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for name in groups:
            apply(name)
        return state, {"loss": loss.detach()}
