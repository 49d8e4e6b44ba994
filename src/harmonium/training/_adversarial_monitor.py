"""What a run of a generative adversarial network tells of itself."""

from __future__ import annotations

__all__ = ["AdversarialMonitor", "spread", "tells_nothing"]

import logging

import torch
from torch import Tensor

from ..models import GAN, State
from ..random import Stream
from ..samplers import generate
from ._monitor import Monitor, Record

_LOGGER = logging.getLogger("harmonium")
_WON = 0.995
_EVEN, _FLAT, _LONG = 0.03, 0.01, 500


class AdversarialMonitor(Monitor):
    """Creates the monitor of a generative adversarial network.

    Rows of data are compared with as many that the averaged generator makes, the same latent numbers in each
    epoch, and in evaluation mode. ``told`` is the share of pairs in which the discriminator gives the row of
    data the higher score; if it is larger for training rows than for validation rows, it knows the former by
    heart. ``spread`` is the total variance of made rows over that of data: near 0 they are all alike.
    ``score_deviation`` is the standard deviation of the scores of rows: near 0 the discriminator tells
    nothing apart.
    """

    warned = False

    def kinds(self, model: GAN) -> list[str]:
        return ["score", "score_deviation", "told"]

    @torch.no_grad()
    def epoch(self, model: GAN, state: State) -> Record:
        n = max(map(len, self.probes.values()))
        made = generate(model, n, Stream(self.options.seed, "monitor"))
        self.against = model.score(made).sort().values
        record = super().epoch(model, state)
        record["samples/score"] = float(self.against.mean())
        record["samples/spread"] = spread(model, made, self.probes["train"])
        if "mean.told" in state and not self.warned:
            self._look(float(state["mean.told"]), record["train/score_deviation"], int(state["updates"]))
        return record

    def scores(self, model: GAN, rows: Tensor) -> dict[str, float]:
        scores = model.score(rows)
        below, up_to = (torch.searchsorted(self.against, scores, right=equal) for equal in (False, True))
        told = float((below + up_to).double().mean()) / (2 * len(self.against))
        deviation = float(scores.double().std(correction=0))
        return {"score": float(scores.mean()), "score_deviation": deviation, "told": told}

    def _look(self, told: float, deviation: float, updates: int) -> None:
        """Say so, once, where the discriminator has won, or tells nothing apart."""
        if told >= _WON:
            self.warned = True
            _LOGGER.warning(
                "training: the discriminator gives data the higher score in %.1f %% of pairs with made rows; "
                "where it has won, the generator learns no more: raise the rule's r1 and r2, lower its "
                "discriminator_rate, or set its augment",
                100 * told,
            )
        elif tells_nothing(told, deviation, updates):
            self.warned = True
            _LOGGER.warning(
                "training: the discriminator gives all rows nearly the same score (a standard deviation of "
                "%.2g); unless made rows are like data, it has died: lower lr",
                deviation,
            )


def tells_nothing(told: float, deviation: float, updates: int) -> bool:
    """Return whether a discriminator tells next to nothing apart, and has had the time to learn.

    Arguments:
        told: In what share of pairs the row of data has the higher score.
        deviation: The standard deviation of scores.
        updates: How many there have been.
    """
    return abs(told - 0.5) <= _EVEN and deviation <= _FLAT and updates >= _LONG


def spread(model: GAN, made: Tensor, data: Tensor) -> float:
    """Return the total variance of made rows over that of data, their labels apart."""
    ours, theirs = (
        float(rows[:, : model.columns].double().var(0, correction=0).sum()) for rows in (made, data)
    )
    return ours / max(theirs, 1e-30)
