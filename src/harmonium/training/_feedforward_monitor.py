"""What a run of a feed-forward network tells of itself."""

from __future__ import annotations

__all__ = ["AutoencoderMonitor", "ClassifierMonitor"]

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..learning import reconstruction_errors
from ..models import MLP, Autoencoder
from ._monitor import Monitor

_ROWS = 4096


class ClassifierMonitor(Monitor):
    """Creates the monitor of a classifier: the cross-entropy of the labels in nats, and the error rate.

    What the classifier sees beside the inputs of the probes is found once.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._beside: dict[tuple[str, int], Tensor | None] = {}

    def kinds(self, model: MLP) -> list[str]:
        return ["cross_entropy", "error", "accuracy"]

    @torch.no_grad()
    def scores(self, model: MLP, rows: Tensor) -> dict[str, float]:
        model.eval()
        loss = wrong = 0.0
        split = next(name for name, probe in self.probes.items() if probe is rows)
        for number, block in enumerate(rows.split(_ROWS)):
            x, codes = model.split(block.to(model.device))
            assert codes is not None
            place = split, number
            if place not in self._beside:
                self._beside[place] = model.beside(x)
            out = model(x, self._beside[place])
            loss += float(cross_entropy(out, codes, reduction="sum"))
            wrong += float((out.argmax(1) != codes).sum())
        error = wrong / len(rows)
        return {"cross_entropy": loss / len(rows), "error": error, "accuracy": 1 - error}


class AutoencoderMonitor(Monitor):
    """Creates the monitor of an autoencoder: its error in nats, and the mean squared one of each input."""

    def kinds(self, model: Autoencoder) -> list[str]:
        return ["loss", "reconstruction_error", "negative_loss"]

    @torch.no_grad()
    def scores(self, model: Autoencoder, rows: Tensor) -> dict[str, float]:
        model.eval()
        loss = error = 0.0
        for block in rows.split(_ROWS):
            s = model.visible.statistics(block.to(model.device))
            loss += float(reconstruction_errors(model, s).sum()) / len(rows)
            error += float((model.reconstruct(s) - s).square().mean(1).sum()) / len(rows)
        return {"loss": loss, "reconstruction_error": error, "negative_loss": -loss}
