"""What a run tells of itself at the end of each epoch."""

from __future__ import annotations

__all__ = ["EnergyMonitor", "Monitor", "matrices", "norm", "pseudo_likelihood"]

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from ..learning import chain_rows, seen_by_chains
from ..likelihood import log_likelihood, log_partition
from ..models import PairwiseModel, State, error_rate, has_label, inferred_fields, mean_field
from ..random import Stream
from ._options import Options

Record = dict[str, Any]

_SWEEPS = 20


class Monitor(ABC):
    """Abstract monitor of a run.

    The same probe rows are scored in every epoch. Training rows and validation rows are kept apart: where
    the ones get better and the others worse, the model overfits.

    Arguments:
        train: Training rows to be scored, or none.
        validation: Validation rows to be scored, or none.
        options: The run's settings.
        states: Whether the rows are states; else they are means.
    """

    def __init__(self, train: Tensor, validation: Tensor, options: Options, states: bool = True) -> None:
        self.options = options
        self.states = states
        self.probes = {"train": train, "validation": validation}

    def names(self, model: Any) -> list[str]:
        """Return the names of the scores that :meth:`epoch` and :meth:`likelihood` give."""
        scores = self.kinds(model)
        return [f"{split}/{name}" for split, rows in self.probes.items() if len(rows) for name in scores]

    @torch.no_grad()
    def epoch(self, model: Any, state: State) -> Record:
        """Return the metrics of an epoch by name.

        Arguments:
            model: The model as it is to be judged.
            state: The rule's state.
        """
        record: Record = {}
        for split, rows in self.probes.items():
            if len(rows):
                record |= {f"{split}/{k}": v for k, v in self.scores(model, rows).items()}
        record["weight/norm"] = norm(matrices(model))
        return record

    @abstractmethod
    def kinds(self, model: Any) -> list[str]:
        """Return the names of what rows are scored by."""

    @abstractmethod
    def scores(self, model: Any, rows: Tensor) -> dict[str, float]:
        """Return the scores of rows by name."""

    def likelihood(self, model: Any, state: State, seed: int) -> Record:
        """Return the log-likelihoods of the probes, with both ends."""
        return {}


class EnergyMonitor(Monitor):
    """Creates the monitor of a model with an energy.

    Free energies and pseudo-likelihoods are read off the same units in every epoch; a growing gap between
    the free energies of training and validation rows is overfitting. Means have no pseudo-likelihood. Models
    with a label are asked for the labels of the rows. Rows that lack values are scored by what mean field
    makes of the values that they have, as far as that goes.
    """

    def kinds(self, model: PairwiseModel) -> list[str]:
        scores = ["reconstruction_error", "hidden_mean"] if model.hidden_blocks() else []
        if self._lacking(model):
            likelihood = ["log_likelihood", "log_likelihood_lower", "log_likelihood_upper"]
            return scores + (likelihood if self.options.likelihood_every else [])
        if model.hidden_sums_out():
            scores.append("free_energy")
        if self._has_pseudo_likelihood(model):
            scores.append("pseudo_likelihood")
        if has_label(model):
            scores += ["error", "accuracy"]
        if self.options.likelihood_every:
            scores += ["log_likelihood", "log_likelihood_lower", "log_likelihood_upper"]
            scores += [] if model.hidden_sums_out() else ["bound"]
        return scores

    @torch.no_grad()
    def epoch(self, model: PairwiseModel, state: State) -> Record:
        record = super().epoch(model, state)
        if "validation/free_energy" in record:
            gap = record["validation/free_energy"] - record["train/free_energy"]
            record["free_energy_gap"] = gap
        chains = seen_by_chains(model, state)
        if chains and model.hidden_sums_out():
            energy = -model.log_sum(chains)
            record["chains/free_energy"] = float(energy.mean())
            record["chains/free_energy_std"] = float(energy.std()) if len(energy) > 1 else 0.0
        return record

    @torch.no_grad()
    def likelihood(self, model: PairwiseModel, state: State, seed: int) -> Record:
        options: dict[str, Any] = dict(self.options.likelihood)
        chains = chain_rows(model, state)
        if chains is not None:
            options.setdefault("chains", chains)
        log_z = log_partition(model, seed=seed, **options)
        record: Record = {"log_partition": log_z.to_dict()}
        for split, rows in self.probes.items():
            if len(rows):
                result = log_likelihood(model, rows, log_partition=log_z, means=True)
                record[f"{split}/log_likelihood"] = result.mean
                record[f"{split}/log_likelihood_lower"] = result.lower
                record[f"{split}/log_likelihood_upper"] = result.upper
                if result.bound is not None:
                    record[f"{split}/bound"] = result.bound
        return record

    def scores(self, model: PairwiseModel, rows: Tensor) -> dict[str, float]:
        s, known = model.visible.known_statistics(rows.to(model.device))
        if self._lacking(model):
            return _scores_of_known(model, s, torch.ones_like(s).bool() if known is None else known)
        seen, scores = model.observed(s), {}
        if model.hidden_blocks():
            means = mean_field(model, seen).means
            whole = {**seen, **means}
            guess = {block: model.layer(block).mean(model.field(block, whole)) for block in seen}
            scores["reconstruction_error"] = float((model.shown(guess) - s).square().mean())
            scores["hidden_mean"] = float(torch.cat(list(means.values()), 1).mean())
        if model.hidden_sums_out():
            scores["free_energy"] = -float(model.log_sum(seen).mean())
        if self._has_pseudo_likelihood(model):
            scores["pseudo_likelihood"] = pseudo_likelihood(model, s)
        if has_label(model):
            scores["error"] = error_rate(model, rows)
            scores["accuracy"] = 1 - scores["error"]
        return scores

    def _lacking(self, model: PairwiseModel) -> bool:
        """Return whether there are rows that lack values."""
        return any(model.visible.known(rows) is not None for rows in self.probes.values())

    def _has_pseudo_likelihood(self, model: PairwiseModel) -> bool:
        alone = model.observed_blocks() == ("visible",)
        return self.states and alone and model.visible.support() is not None and model.hidden_sums_out()


def _scores_of_known(model: PairwiseModel, s: Tensor, known: Tensor) -> dict[str, float]:
    """Return the scores of rows that lack values, shape (rows, width); the error is of what is known."""
    if not model.hidden_blocks():
        return {}
    fields = inferred_fields(model, model.observed(s), model.observed(known), _SWEEPS)
    means = [model.layer(block).expected_statistics(fields[block]) for block in model.hidden_blocks()]
    guess = model.shown({b: model.layer(b).mean(fields[b]) for b in model.observed_blocks()})
    error = (guess - s).square()[known].mean()
    return {"reconstruction_error": float(error), "hidden_mean": float(torch.cat(means, 1).mean())}


def matrices(model: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a model's weights, biases apart, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.ndim > 1}


def norm(tensors: dict[str, Tensor]) -> float:
    """Return the Euclidean norm of all elements of some tensors."""
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors.values()))


@torch.no_grad()
def pseudo_likelihood(model: PairwiseModel, s: Tensor, seed: int = 0) -> float:
    r"""Estimate the mean log pseudo-likelihood :math:`\sum_i \log p(v_i \mid v_{-i})`, nats per row.

    One unit of each row is looked at, drawn by the seed, and the result scaled up by the number of
    units; the same seed looks at the same units.

    Arguments:
        model: A model with discrete visible units.
        s: Visible statistics, shape (rows, width).
        seed: Draws the units.
    """
    unit = model.visible
    support = unit.support()
    assert support is not None
    columns = support.shape[1]
    u = Stream(seed, "pseudo-likelihood").uniform(len(s), 1, device=s.device)[:, 0]
    site = (u * unit.size).long().clamp(max=unit.size - 1)
    place = site[:, None] * columns + torch.arange(columns, device=s.device)
    energies = [-model.log_sum({"visible": s})]
    own = s.gather(1, place)
    for value in support.to(s):
        changed = s.scatter(1, place, value.expand(len(s), columns))
        energy = -model.log_sum({"visible": changed})
        same = (own == value).all(1)
        energies.append(torch.where(same, torch.inf, energy))
    log_p = -energies[0] - torch.logsumexp(-torch.stack(energies), 0)
    return float(log_p.mean()) * unit.size
