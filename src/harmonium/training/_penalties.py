r"""What is done to weights after each step: a penalty on their size, and a bound on their norm.

The L1 penalty :math:`\lambda \sum |w|` has no gradient at zero, where it matters. Its proximal step has the
closed form

.. math:: w \gets \operatorname{sign}(w) \max(|w| - \eta \lambda,\ 0)

after the step of the likelihood with learning rate :math:`\eta`, and its zeros are exact. Couplings of
categorical units within a layer are penalised pair by pair, by :math:`\lambda \sum_{i<j} \|J_{ij}\|_F`, whose
proximal step scales a whole block and so leaves it in its gauge. A coupling stays at zero as long as its
gradient is below :math:`\lambda`; the noise of small batches and of few chains alone can be larger than that.

The bound scales the weights that come into a hidden unit back to a norm, so that a large rate can do no harm.

References:
    | Proximal algorithms (Parikh & Boyd, 2014)
    | Dropout: a simple way to prevent neural networks from overfitting (Srivastava et al., 2014)
"""

from __future__ import annotations

__all__ = ["Penalties"]

import torch
from torch import Tensor

from ..errors import invalid
from ..models import Model, PairwiseModel
from ._options import Options


class Penalties:
    """Creates the penalties on a model's weights; biases have none.

    Arguments:
        model: The model.
        options: The run's settings ``l1`` and ``max_norm``.

    Raises:
        ArgumentError: ``max_norm`` is given, and the model has no hidden units.
    """

    def __init__(self, model: Model, options: Options) -> None:
        self.model, self.l1, self.max_norm = model, options.l1, options.max_norm
        couplings = model.couplings() if isinstance(model, PairwiseModel) else ()
        self.couplings = {coupling.name: coupling for coupling in couplings}
        self.incoming = model.incoming()
        if self.max_norm is not None and not self.incoming:
            raise invalid("max_norm", self.max_norm, "None, as the model has no hidden units")

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return self.l1 > 0 or self.max_norm is not None

    def sparse(self) -> set[str]:
        """Return the names of the weights whose zeros are to be exact."""
        return {name for name, p in self.model.named_parameters() if p.ndim > 1} if self.l1 else set()

    @torch.no_grad()
    def apply(self, rates: dict[str, float]) -> None:
        """Shrink the weights that have just been stepped, and bring them within their norm.

        Arguments:
            rates: The learning rates of the step by the parameter's name.
        """
        for name, weight in self.model.named_parameters():
            if name not in rates or weight.ndim < 2:
                continue
            if self.l1:
                self._shrink(name, weight, rates[name] * self.l1)
            if self.max_norm is not None and name in self.incoming:
                self._bound(name, weight, self.max_norm)

    def _shrink(self, name: str, weight: Tensor, threshold: float) -> None:
        coupling = self.couplings.get(name)
        if coupling is not None and coupling.lower == coupling.upper:
            assert isinstance(self.model, PairwiseModel)
            unit = self.model.layer(coupling.lower)
            n, columns = unit.size, unit.width // unit.size
            if columns > 1:
                blocks = weight.view(n, columns, n, columns)
                norm = torch.linalg.vector_norm(blocks, dim=(1, 3), keepdim=True)
                blocks *= (1 - threshold / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(min=0)
                return
        weight -= weight.clamp(-threshold, threshold)

    def _bound(self, name: str, weight: Tensor, most: float) -> None:
        square = weight.square().sum(self.incoming[name], keepdim=True)
        coupling = self.couplings.get(name)
        if coupling is not None:
            assert isinstance(self.model, PairwiseModel)
            unit = self.model.layer(coupling.upper)
            owner = unit.expand(torch.arange(unit.size, device=weight.device))
            own = weight.new_zeros(1, unit.size).index_add_(1, owner, square)
            square = own[:, owner]
        weight *= most / square.sqrt().clamp(min=most)
