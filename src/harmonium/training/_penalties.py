r"""What is done to couplings after each step: a penalty on their size, and a bound on their norm.

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
from ..models import Coupling, PairwiseModel
from ._options import Options


class Penalties:
    """Creates the penalties on a model's couplings; biases have none.

    Arguments:
        model: The model.
        options: The run's settings ``l1`` and ``max_norm``.

    Raises:
        ArgumentError: ``max_norm`` is given, and the model has no hidden units.
    """

    def __init__(self, model: PairwiseModel, options: Options) -> None:
        self.model, self.l1, self.max_norm = model, options.l1, options.max_norm
        if self.max_norm is not None and not any(c.lower != c.upper for c in model.couplings()):
            raise invalid("max_norm", self.max_norm, "None, as the model has no hidden units")

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return self.l1 > 0 or self.max_norm is not None

    def sparse(self) -> set[str]:
        """Return the names of the couplings whose zeros are to be exact."""
        return {coupling.name for coupling in self.model.couplings()} if self.l1 else set()

    @torch.no_grad()
    def apply(self, rates: dict[str, float]) -> None:
        """Shrink the couplings that have just been stepped, and bring them within their norm.

        Arguments:
            rates: The learning rates of the step by the parameter's name.
        """
        for coupling in self.model.couplings():
            if coupling.name not in rates:
                continue
            weight = self.model.get_parameter(coupling.name)
            if self.l1:
                self._shrink(coupling, weight, rates[coupling.name] * self.l1)
            if self.max_norm is not None and coupling.lower != coupling.upper:
                self._bound(coupling, weight, self.max_norm)

    def _shrink(self, coupling: Coupling, weight: Tensor, threshold: float) -> None:
        unit = self.model.layer(coupling.lower)
        n, columns = unit.size, unit.width // unit.size
        if coupling.lower != coupling.upper or columns == 1:
            weight -= weight.clamp(-threshold, threshold)
            return
        blocks = weight.view(n, columns, n, columns)
        norm = torch.linalg.vector_norm(blocks, dim=(1, 3), keepdim=True)
        blocks *= (1 - threshold / norm.clamp(min=torch.finfo(norm.dtype).tiny)).clamp(min=0)

    def _bound(self, coupling: Coupling, weight: Tensor, most: float) -> None:
        unit = self.model.layer(coupling.upper)
        owner = unit.expand(torch.arange(unit.size, device=weight.device))
        square = weight.new_zeros(unit.size).index_add_(0, owner, weight.square().sum(0))
        weight *= (most / square.sqrt().clamp(min=most))[owner]
