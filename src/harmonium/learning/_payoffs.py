r"""What the two players of an adversarial game pay, given the discriminator's scores.

With :math:`r = d(x)` for a row of data and :math:`f = d(g(z))` for a made one, each player lowers its own
loss:

================  ===============================================  ======================================
loss              discriminator                                    generator
================  ===============================================  ======================================
minimax           :math:`-\log \sigma(r) - \log \sigma(-f)`        :math:`\log \sigma(-f)`
nonsaturating     :math:`-\log \sigma(r) - \log \sigma(-f)`        :math:`-\log \sigma(f)`
least-squares     :math:`\tfrac12 (r - 1)^2 + \tfrac12 f^2`        :math:`\tfrac12 (f - 1)^2`
wasserstein       :math:`f - r`                                    :math:`-f`
hinge             :math:`\max(0, 1 - r) + \max(0, 1 + f)`          :math:`-f`
relativistic      :math:`-\log \sigma(r - f)`                      :math:`-\log \sigma(f - r)`
================  ===============================================  ======================================

Minimax is the zero-sum game of 2014, :math:`v = E[\log \sigma(r)] + E[\log \sigma(-f)]`, whose value is
:math:`-\log 4` where the generator's rows are like data; its gradient vanishes for a generator that is told
from data for certain, and that of the nonsaturating loss does not. A relativistic discriminator says which of
two rows is made, so that no player gains by scores that all rise or fall.

References:
    | Generative adversarial nets (Goodfellow et al., 2014), on minimax and nonsaturating
    | Least squares generative adversarial networks (Mao et al., 2017)
    | Wasserstein GAN (Arjovsky, Chintala & Bottou, 2017)
    | Geometric GAN (Lim & Ye, 2017), on hinge
    | The relativistic discriminator (Jolicoeur-Martineau, 2018)
"""

from __future__ import annotations

__all__ = ["PAYOFFS", "Payoffs"]

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import relu, softplus


class Payoffs(NamedTuple):
    """The two players' losses, as functions of the scores of pairs of a row of data and a made one."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]
    paired: bool = False
    """Whether the generator's loss depends on the score of data."""
    critic: bool = False
    """Whether a discriminator that tells all rows is as it should be, and the generator still learns."""


def _logistic(r: Tensor, f: Tensor) -> Tensor:
    return softplus(-r) + softplus(f)


PAYOFFS: dict[str, Payoffs] = {
    "minimax": Payoffs(_logistic, lambda r, f: -softplus(f)),
    "nonsaturating": Payoffs(_logistic, lambda r, f: softplus(-f)),
    "least-squares": Payoffs(
        lambda r, f: 0.5 * (r - 1).square() + 0.5 * f.square(),
        lambda r, f: 0.5 * (f - 1).square(),
    ),
    "wasserstein": Payoffs(lambda r, f: f - r, lambda r, f: -f, critic=True),
    "hinge": Payoffs(lambda r, f: relu(1 - r) + relu(1 + f), lambda r, f: -f),
    "relativistic": Payoffs(lambda r, f: softplus(f - r), lambda r, f: softplus(r - f), paired=True),
}
"""The losses by name."""
