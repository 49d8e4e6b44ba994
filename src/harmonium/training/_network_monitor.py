"""What a run of a deep belief network tells of itself."""

from __future__ import annotations

__all__ = ["NetworkMonitor"]

from typing import Any

import torch
from torch import Tensor

from ..likelihood import log_likelihood, log_partition
from ..models import DBN, State, error_rate, has_label
from ._monitor import Monitor, Record

_NAMES = ("bound", "log_likelihood", "log_likelihood_lower", "log_likelihood_upper")
_SAMPLES = 10


class NetworkMonitor(Monitor):
    """Creates the monitor of a deep belief network; the bound needs ``likelihood_every``.

    Networks with a label are asked for the labels of the rows.
    """

    def kinds(self, model: DBN) -> list[str]:
        scores = ["reconstruction_error", *(("error", "accuracy") if has_label(model) else ())]
        return [*scores, *(_NAMES if self.options.likelihood_every else ())]

    def scores(self, model: DBN, rows: Tensor) -> dict[str, float]:
        s = model.visible.statistics(rows.to(model.device))
        v, _ = model.split(s)
        scores = {"reconstruction_error": float((model.reconstruct(s) - v).square().mean())}
        if has_label(model):
            scores["error"] = error_rate(model, rows)
            scores["accuracy"] = 1 - scores["error"]
        return scores

    @torch.no_grad()
    def likelihood(self, model: DBN, state: State, seed: int) -> Record:
        options: dict[str, Any] = dict(self.options.likelihood)
        chains = state.get("top.visible")
        if chains is not None:
            options.setdefault("chains", model.top.visible.values(chains))
        log_z = log_partition(model, seed=seed, **options)
        record: Record = {"log_partition": log_z.to_dict()}
        for split, rows in self.probes.items():
            if len(rows):
                result = log_likelihood(
                    model, rows, log_partition=log_z, means=True, samples=_SAMPLES, seed=seed
                )
                found = (result.bound, result.mean, result.lower, result.upper)
                record |= {f"{split}/{k}": v for k, v in zip(_NAMES, found, strict=True)}
        return record
