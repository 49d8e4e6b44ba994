r"""Hidden units that are absent from an update by chance, so that none can rely on another.

With a mask r that leaves out each hidden unit with probability p, what is left is a smaller machine. Learning
follows the mean over masks of the smaller machines' log-likelihoods,

.. math:: \frac{\partial}{\partial \theta} E_r[-\log p(v \mid r)] = E_r\!\left[
    \frac{\partial F_r(v)}{\partial \theta} - E_{p(\cdot \mid r)} \frac{\partial F_r}{\partial \theta}\right],

in which a unit that is absent has the statistic 0: it feeds nothing and gets no gradient. Each row of data
and each chain draws a mask of its own in each update, and keeps it through all Gibbs steps.

* A chain of contrastive divergence starts at a row, and has the row's mask.
* A persistent chain gets a new mask in each update: from where it is in one machine it sets out for
  another. All of them model the same data, so that it is not far, but ``steps`` are all that it has for the
  way.
* Centring is another step to the same aim for any gradient, this one too. Offsets are means over all rows,
  in which absent units count as 0.

What is learnt are good features. The machine with all its units is none of those that were trained: its
visible units get more input than they ever had, so that dropout is not for densities.

References:
    | Dropout: a simple way to prevent neural networks from overfitting (Srivastava et al., 2014), section 8
"""

from __future__ import annotations

__all__ = ["absent", "check_dropout", "draw_present"]

import torch

from ..errors import invalid
from ..models import PairwiseModel, State
from ..random import Stream


def check_dropout(model: PairwiseModel, dropout: float) -> None:
    """Check that units can be left out.

    Raises:
        ArgumentError: There are no hidden units, or they are coupled among each other.
    """
    if not model.hidden_blocks():
        raise invalid("dropout", dropout, "0, as the model has no hidden units")
    if not model.hidden_sums_out():
        raise invalid("dropout", dropout, "0, as hidden units are coupled among each other")


def draw_present(model: PairwiseModel, rows: int, dropout: float, stream: Stream) -> State:
    """Draw which hidden units take part, 1 or 0 for each column, shape (rows, width), by block."""
    found = {}
    for block in model.hidden_blocks():
        layer = model.layer(block)
        there = stream.uniform(rows, layer.size, device=model.device) >= dropout
        found[block] = layer.expand(there).to(model.dtype)
    return found


def absent(present: State) -> State:
    """Return the clamps that keep absent units at the statistic 0: NaN where a unit is free."""
    return {block: there.masked_fill(there == 1, torch.nan) for block, there in present.items()}
