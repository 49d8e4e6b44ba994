r"""How the bound on a deep belief network's likelihood grew as its layers were added.

Cut after its first l RBMs a network is one again, whose top is RBM l. If each RBM starts as the one below
upside down, which leaves the bound where it was, and is then trained to give what it sees a higher
likelihood, the bound of the cut networks rises with l. Each has a partition function of its own, with its own
errors, so that a rise is one only as far as the ends of the estimates are apart.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
"""

from __future__ import annotations

__all__ = ["bound_growth", "cut"]

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..errors import invalid
from ..likelihood import LogPartition, log_likelihood, log_partition
from ..models import DBN
from ._opened import OpenRun


def bound_growth(
    run: OpenRun,
    rows: Tensor,
    *,
    top: LogPartition | None = None,
    samples: int | None = None,
    means: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> list[dict[str, Any]]:
    """Score the rows by the network cut after one RBM, after two, and so on; a dictionary for each.

    Labels are left out, also by the whole network, which sums them out: only the top RBM knows of them.

    Arguments:
        run: The run of a network that was trained layer by layer.
        rows: Shape (rows, size).
        top: The estimate of log Z of the whole network, if it has been made.
        samples: Of the hidden layers, for each row.
        means: Accept means where states are due.
        seed: The seed of all that is drawn.
        progress: Called with a line of text now and then.
        options: Arguments of :func:`harmonium.log_partition`.

    Raises:
        ArgumentError: The run is no such run.
    """
    model = run.model
    if not isinstance(model, DBN) or not run.greedy:
        raise invalid("growth", model.kind, "a dbn that was trained layer by layer, and not tuned since")
    pixels = run.images(rows)
    found = []
    for depth in range(1, model.depth + 1):
        part = cut(model, depth)
        log_z = top if depth == model.depth else None
        if log_z is None:
            chains = run.chains_of(depth, part.top)
            log_z = log_partition(part, chains=chains, seed=seed, progress=progress, **options)
        result = log_likelihood(part, pixels, log_partition=log_z, means=means, samples=samples, seed=seed)
        assert result.bound is not None
        found.append(
            {
                "layers": depth,
                "units": [rbm.hidden.size for rbm in part.rbms],
                "bound": result.bound,
                "bound_error": math.hypot(result.bound_standard_error, log_z.upper_standard_error),
                "estimate": result.mean,
                "lower": result.lower,
                "upper": result.upper,
                "standard_error": result.standard_error,
                "trusted": result.trusted,
                "reason": result.reason,
                "log_partition": log_z.to_dict(),
            }
        )
    return found


def cut(model: DBN, depth: int) -> DBN:
    """Return the network of the first RBMs of another, with a copy of their parameters.

    Arguments:
        model: A network whose recognition weights are tied.
        depth: How many RBMs to keep.
    """
    if depth == model.depth:
        return model
    config = model.config()
    layers, masked = config["layers"][: depth + 1], config["masked"][:depth]
    part = DBN.from_config({**config, "layers": layers, "masked": masked, "classes": None})
    kept = {name: value for name, value in model.state_dict().items() if int(name.split(".")[1]) < depth}
    part.to(model.device, model.dtype).load_state_dict(kept)
    part.transform = model.transform
    return part
