r"""Values that rows lack, integrated over as if they were hidden.

Where a value is missing at random (which ones are missing depends on nothing but the values that are known),
a row tells of the known ones, o, alone, and the likelihood is that of these:

.. math:: -\frac{\partial \log p(v_o)}{\partial \theta} = E_{v_m, h \mid v_o}\!\left[\frac{\partial E}
    {\partial \theta}\right] - E_\mathrm{model}\!\left[\frac{\partial E}{\partial \theta}\right]

Only the first term differs from that of a row without gaps. It is a sum over the states of the missing units
m or of the hidden ones; else clamped Gibbs sampling draws the missing units, or mean field takes the closest
distribution of independent units.

References:
    | Inference and missing data (Rubin, 1976)
    | Supervised learning from incomplete data via an EM approach (Ghahramani & Jordan, 1994)
"""

from __future__ import annotations

__all__ = ["check_completes", "complete"]

import torch
from torch import Tensor

from ..errors import ArgumentError, invalid
from ..models import PairwiseModel, inferred_fields
from ..random import Stream
from ..samplers import draw_missing
from ..units import Gaussian, Mixed


def check_completes(name: str, model: PairwiseModel, gaps: str) -> None:
    """Check that the values that rows lack can be integrated over in some way.

    Arguments:
        name: The rule's.
        model: The model.
        gaps: How: ``gibbs`` or ``mean-field``.

    Raises:
        ArgumentError: Hidden units do not sum out, or mean field does not tell enough of the visible ones.
    """
    if not model.hidden_sums_out() or len(model.observed_blocks()) > 1:
        raise ArgumentError(
            f"data: got missing values, which {name!r} integrates over where hidden units are independent "
            f"given the visible ones and the label is no layer of its own; not so in this {model.kind}"
        )
    if gaps == "gibbs":
        return
    parts = list(model.visible.parts) if isinstance(model.visible, Mixed) else [model.visible]
    if any(isinstance(part, Gaussian) and part.learn_precision for part in parts):
        raise invalid("gaps", gaps, "'gibbs', as precisions are learned, of which means do not tell")
    if model.lateral("visible") is not None:
        raise invalid("gaps", gaps, "'gibbs', as visible units are coupled to each other")


@torch.no_grad()
def complete(
    model: PairwiseModel, values: Tensor, known: Tensor, draw: bool, steps: int, stream: Stream
) -> Tensor:
    """Return visible statistics with what is missing filled in, shape (rows, width).

    Arguments:
        model: The model.
        values: The statistics, shape (rows, width).
        known: Which of them are known, likewise.
        draw: Whether to draw them by clamped Gibbs sampling from where mean field leads; else they are means.
        steps: Sweeps of mean field, and of Gibbs sampling.
        stream: Where the random bits come from.
    """
    rows = (~known).any(1).nonzero()[:, 0]
    own, there, full = values[rows], known[rows], values.clone()
    if draw:
        full[rows] = draw_missing(model, own, there, steps, stream, sweeps=steps)
    else:
        field = inferred_fields(model, {"visible": own}, {"visible": there}, steps)["visible"]
        full[rows] = torch.where(there, own, model.visible.expected_statistics(field))
    return full
