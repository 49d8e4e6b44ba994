r"""Back-propagation for feed-forward networks: of a classifier's cross-entropy, of an autoencoder's error.

.. math:: -\log p(y \mid v), \qquad -\sum_i v_i \log \hat v_i + (1 - v_i) \log(1 - \hat v_i), \qquad
    \tfrac12 \sum_i (v_i - \hat v_i)^2

the second for probabilities, the third for real numbers. Inputs and hidden units are left out at random where
the network has dropout, by the rule's own random bits; those left are scaled up, so that the expected inputs
of each unit are those of the whole network, and pretrained weights can be taken as they are.

A classifier may learn from adversarial examples as well, of each row the one that a step against its label
makes, with the sign of the gradient in each input:

.. math:: (1 - \alpha)\, L(v) + \alpha\, L(v + \epsilon \operatorname{sign} \nabla_v L(v)), \qquad
    L(v) = -\log p(y \mid v)

The step is held while the gradient of the second term is taken, and so is what the classifier of a deep
Boltzmann machine sees beside its inputs; inputs that are probabilities stay between 0 and 1. With dropout
each term leaves out units of its own, and the slope is that of the first: what it leaves out does not move.

References:
    | Learning representations by back-propagating errors (Rumelhart, Hinton & Williams, 1986)
    | Dropout: a simple way to prevent neural networks from overfitting (Srivastava et al., 2014)
    | Explaining and harnessing adversarial examples (Goodfellow, Shlens & Szegedy, 2015)
"""

from __future__ import annotations

__all__ = ["CrossEntropy", "Reconstruction", "reconstruction_errors"]

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ..errors import invalid
from ..models import MLP, Autoencoder, Model, State
from ..random import Stream
from ._loss_rule import LossRule
from ._own_bits import own_bits
from ._rule import Batch

_MOVABLE = ("bernoulli", "gaussian")
"""The kinds of inputs that an adversarial step may move."""


class CrossEntropy(LossRule):
    """Creates the rule that descends the cross-entropy of a classifier's labels.

    Arguments:
        adversarial: The step against the label in each input, in its own units; 0 for the rows alone.
        adversarial_share: The share of the loss that is of rows after the step.

    Raises:
        ArgumentError: The step is negative, or the share no share.
    """

    name: ClassVar[str] = "cross-entropy"
    supervised: ClassVar[bool] = True
    fits: ClassVar[type[Model]] = MLP
    adversarial: Annotated[
        float, Field(ge=0, description="step of inputs against the label, for a share of the loss; 0: none")
    ] = 0.0
    adversarial_share: Annotated[
        float, Field(ge=0, le=1, description="share of the loss that is of rows after that step")
    ] = 0.5

    def check(self, model: Model) -> None:
        if not isinstance(model, MLP):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        if self.adversarial and model.inputs.kind not in _MOVABLE:
            expected = f"0, as the inputs are {model.inputs.kind}, and neither all Bernoulli nor all Gaussian"
            raise invalid("adversarial", self.adversarial, expected)

    def loss(self, model: Model, batch: Batch, state: State, stream: Stream) -> Tensor:
        assert isinstance(model, MLP)
        x, target = batch.values[:, : -model.classes], batch.values[:, -model.classes :].argmax(1)
        model.train()
        beside = model.beside(x) if batch.beside is None else batch.beside

        def of(x: Tensor) -> Tensor:
            return (cross_entropy(model(x, beside), target, reduction="none") * batch.weights).sum()

        with own_bits(model, stream):
            if not self.adversarial:
                return of(x)
            x = x.detach().requires_grad_()
            own = of(x)
            (slope,) = torch.autograd.grad(own, x, retain_graph=True)
            moved = x.detach() + self.adversarial * slope.sign()
            if model.inputs.kind == "bernoulli":
                moved.clamp_(0, 1)
            return torch.lerp(own, of(moved), self.adversarial_share)


class Reconstruction(LossRule):
    """Creates the rule that descends an autoencoder's error."""

    name: ClassVar[str] = "reconstruction"
    fits: ClassVar[type[Model]] = Autoencoder

    def check(self, model: Model) -> None:
        if not isinstance(model, Autoencoder):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")

    def loss(self, model: Model, batch: Batch, state: State, stream: Stream) -> Tensor:
        assert isinstance(model, Autoencoder)
        model.train()
        return (reconstruction_errors(model, batch.values) * batch.weights).sum()


def reconstruction_errors(model: Autoencoder, s: Tensor) -> Tensor:
    """Return the error of each row, shape (rows), nats.

    Arguments:
        model: The network.
        s: Statistics of rows, shape (rows, width).
    """
    out: Tensor = model(s)
    if model.visible.kind == "bernoulli":
        return binary_cross_entropy_with_logits(out, s, reduction="none").sum(1)
    return 0.5 * torch.square(out - s).sum(1)
