r"""The contrastive wake-sleep rule, or up-down algorithm: all layers of a deep belief network at once.

The recognition network q stands in for the posterior, and either network learns from what the other draws.
In the wake phase layers h are drawn up from the data, and the generative network follows

.. math:: E_{q(h \mid v)}[-\nabla \log p(v, h)],

which is a sum over layers: of a directed one a delta rule, of the top RBM the gradient of its likelihood
with the last layer but one for data. In the sleep phase layers are drawn down from the top RBM, and the
recognition network follows

.. math:: E_{p(v, h)}[-\nabla \log q(h \mid v)],

delta rules again. The delta rule of units in a field :math:`a = b + W y` is the same for all types,

.. math:: -\frac{\partial \log p(x \mid y)}{\partial a} = E[s(x) \mid a] - s(x).

The wake phase raises the bound on the likelihood; the sleep phase lowers the divergence of the posterior and
q, with its sides exchanged. What is dreamt of should be what is seen: the rule is contrastive where the top
RBM's chains start at the data in each update, and go but a few steps, so that they stay in their modes.

References:
    | The wake-sleep algorithm for unsupervised neural networks (Hinton, Dayan, Frey & Neal, 1995)
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
"""

from __future__ import annotations

__all__ = ["WakeSleep"]

from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from .. import kernels
from ..errors import ArgumentError, invalid
from ..models import DBN, Model, State
from ..random import Stream
from ..samplers import ascend
from ..units import Unit
from ._contrastive import CD, PCD, GibbsRule
from ._moment_rule import named, part
from ._rule import Apply, Batch, Metrics, Rule

_CHAIN = "chain."
_TOP = "top."


class WakeSleep(Rule):
    """Creates the contrastive wake-sleep rule for a deep belief network whose two networks are untied.

    A hidden layer's bias in the recognition network is that of ``recognition``; the hidden biases of the
    RBMs below the top one belong to neither network, and stay as they are.

    Arguments:
        steps: Gibbs steps of the top RBM in each update.
        chains: The number of the top RBM's persistent chains, whatever the batch size; by default its
            chains start at the data in each update.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "wake-sleep"
    fits: ClassVar[type[Model]] = DBN
    steps: Annotated[int, Field(ge=1, description="Gibbs steps in each update")] = 1
    chains: Annotated[
        int | None, Field(ge=1, description="persistent chains; none by default: they start at the data")
    ] = None

    def check(self, model: Model) -> None:
        if not isinstance(model, DBN):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        if model.depth == 1:
            raise invalid("rule", self.name, "a rule that fits an RBM, as the network has one hidden layer")
        if model.recognition is None:
            raise ArgumentError(
                "model: got a network whose recognition weights are tied to the generative ones, "
                "expected weights of its own: call dbn.untie() first"
            )

    def parameters(self, model: Model, state: State | None = None) -> dict[str, dict[str, Tensor]]:
        assert isinstance(model, DBN)
        unused = tuple(f"rbms.{layer}.hidden." for layer in range(model.depth - 1))
        (group,) = super().parameters(model, state).values()
        return {"model": {name: p for name, p in group.items() if not name.startswith(unused)}}

    def init(self, model: Model, stream: Stream) -> State:
        assert isinstance(model, DBN)
        return named(_TOP, part(self._top().init(model.top, stream), _CHAIN))

    @torch.no_grad()
    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, DBN)
        v, label = _split(model, batch.values)
        path = ascend(model, v, stream)
        for layer, (x, y) in enumerate(pairwise(path)):
            _wake(model, layer, x, y, batch.weights)
        seen = path[-1] if label is None else torch.cat((path[-1], label), 1)
        dreamt, shares, kept = self._contrast(model, batch._replace(values=seen), state, stream)
        path = _descend(model, _split(model, dreamt)[0], stream)
        for layer, (x, y) in enumerate(pairwise(path)):
            _sleep(model, layer, x, y, shares)
        apply("model")
        return kept, {}

    def _top(self) -> GibbsRule:
        """Return the rule of the top RBM."""
        if self.chains is None:
            return CD(steps=self.steps, centred=False)
        return PCD(steps=self.steps, chains=self.chains, centred=False)

    def _contrast(
        self, model: DBN, batch: Batch, state: State, stream: Stream
    ) -> tuple[Tensor, Tensor, State]:
        """Set the top RBM's gradients.

        Returns:
            The visible states in which its chains end, shape (chains, width); their shares, shape (chains);
            and what of the rule's state to keep.
        """
        rule, top = self._top(), model.top
        data, fields = rule.positive(top, batch.values, stream)
        chain = named(_CHAIN, part(state, _TOP))
        sample, kept = rule.negative(top, data, fields, chain, stream)
        shares = rule.shares(batch, sample)
        rule.gradient(top, data, sample, shares)
        return sample["visible"], shares[len(batch.values) :], named(_TOP, part(kept, _CHAIN))


def _split(model: DBN, s: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the statistics of a layer and of the label beside it, if there is one."""
    if model.classes is None:
        return s, None
    return s[:, : -model.classes].contiguous(), s[:, -model.classes :]


def _descend(model: DBN, x: Tensor, stream: Stream) -> list[Tensor]:
    """Draw the layers below the last but one by the generative network; return all, the visible one first."""
    path = [x]
    for layer in reversed(range(model.depth - 1)):
        path.append(model.rbms[layer].visible.sample_(model.generate(layer, path[-1]), stream))
    return path[::-1]


def _wake(model: DBN, layer: int, x: Tensor, y: Tensor, shares: Tensor) -> None:
    """Set the gradients of -log p(x | y), a layer of the generative network given the one above."""
    rbm, field = model.rbms[layer], model.generate(layer, y)
    unit = rbm.visible
    excess = (unit.expected_statistics(field) - x) * shares[:, None]
    _set(unit.bias, excess.sum(0))
    _set_product(rbm.weight, excess, y, rbm.weight_mask)
    _set_own(unit, x, field, shares)


def _sleep(model: DBN, layer: int, x: Tensor, y: Tensor, shares: Tensor) -> None:
    """Set the gradients of -log q(y | x), a layer of the recognition network given the one below."""
    assert model.recognition is not None
    rbm, own = model.rbms[layer], model.recognition[layer]
    excess = (rbm.hidden.expected_statistics(model.recognise(layer, x)) - y) * shares[:, None]
    _set(own.bias, excess.sum(0))
    _set_product(own.weight, x, excess, rbm.weight_mask)


def _set(parameter: Tensor, gradient: Tensor) -> None:
    """Set a gradient, in place where there is one."""
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad.copy_(gradient)


def _set_product(weight: Tensor, x: Tensor, y: Tensor, mask: Tensor | None) -> None:
    """Set a gradient to x' y where the mask lets it be, in place where there is one."""
    weight.grad = kernels.cross(x, y, weight.grad)
    if mask is not None:
        weight.grad *= mask


def _set_own(unit: Unit, x: Tensor, field: Tensor, shares: Tensor) -> None:
    """Set the gradients of the parameters of a layer's own energy, such as precisions."""
    own = [p for name, p in unit.named_parameters() if name != "bias" and p.requires_grad]
    if own:
        with torch.enable_grad():
            loss = -(shares * unit.log_density(x, field)).sum()
        for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
            _set(parameter, gradient)
