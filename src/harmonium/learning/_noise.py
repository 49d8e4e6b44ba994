"""Distributions that noise is drawn from, and whose densities are known."""

from __future__ import annotations

__all__ = ["BaseRates", "ModelNoise", "Noise"]

import copy
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ArgumentError, FileError, invalid
from ..likelihood import log_partition
from ..models import PairwiseModel, State, load
from ..random import Stream
from ..samplers import Gibbs, base_biases
from ..units import Mixed, Unit
from ._moment_rule import named, part

_CHAIN = "chain."
_MODEL = "model."
_CHAINS = 1000
_EQUILIBRATE = 1000


class Noise(ABC):
    """Abstract source of rows of visible statistics."""

    @abstractmethod
    def draw(self, n: int, times: int, stream: Stream) -> Tensor:
        """Return as many rows for each of n rows of data, shape (times x n, width), set by set."""

    @abstractmethod
    def log_density(self, rows: Tensor) -> Tensor:
        """Return the log-densities of rows, shape (rows)."""

    @abstractmethod
    def state(self) -> State:
        """Return what it goes on from."""


class BaseRates(Noise):
    """Creates noise of independent units.

    Arguments:
        unit: The units; their biases are those of the noise.
    """

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    @classmethod
    def of(cls, model: PairwiseModel) -> BaseRates:
        """Return the noise of a model's base rates, or of its biases where it has none."""
        unit = copy.deepcopy(model.visible).requires_grad_(False)
        if not bool(model.base_rates.isnan().any()):
            unit.bias.copy_(unit.natural(model.base_rates))
        return cls(unit)

    @classmethod
    def from_state(cls, model: PairwiseModel, state: State) -> BaseRates:
        """Return the noise that a state tells of."""
        unit = copy.deepcopy(model.visible).requires_grad_(False)
        unit.load_state_dict(state)
        return cls(unit)

    def draw(self, n: int, times: int, stream: Stream) -> Tensor:
        field = self.unit.bias.repeat(n, 1)
        return torch.cat([self.unit.sample(field, stream) for _ in range(times)])

    def log_density(self, rows: Tensor) -> Tensor:
        return -self.unit.energy(rows) - self.unit.log_partition(self.unit.bias)

    def state(self) -> State:
        return {name: p.detach() for name, p in self.unit.named_parameters()}


class ModelNoise(Noise):
    """Creates noise of a model, from Gibbs chains that take turns, and a step before each row that they give.

    Arguments:
        model: The model.
        log_z: Its log Z, a scalar.
        chain: The states of the chains.
    """

    def __init__(self, model: PairwiseModel, log_z: Tensor, chain: State) -> None:
        self.model, self.log_z, self.chain = model, log_z, chain

    @classmethod
    def of(cls, path: Path, model: PairwiseModel, stream: Stream) -> ModelNoise:
        """Return the noise of a model that :meth:`read` took from a file, its chains equilibrated.

        Raises:
            ArgumentError: The estimate of its log Z cannot be trusted.
        """
        log_z = log_partition(model)
        if not log_z.trusted:
            raise invalid("noise", str(path), f"a model whose log Z is known, but {log_z.reason}")
        gibbs = Gibbs()
        start = model.visible.sample_(base_biases(model)["visible"].repeat(_CHAINS, 1), stream)
        chain = gibbs.init(model, _CHAINS, stream, {"visible": start})
        for _ in range(_EQUILIBRATE):
            chain, _ = gibbs.step(model, chain, stream)
        return cls(model, torch.tensor(log_z.value, dtype=torch.float64, device=model.device), chain)

    @classmethod
    def from_state(cls, path: Path, model: PairwiseModel, state: State) -> ModelNoise:
        """Return the noise that a state tells of, by a model that :meth:`read` took from a file.

        The state's parameters count, whatever the file has by now.

        Raises:
            FileError: The file's model is of another shape.
        """
        own, kept = dict(model.named_parameters()), part(state, _MODEL)
        if {name: p.shape for name, p in own.items()} != {name: p.shape for name, p in kept.items()}:
            raise FileError(f"{path}: it is of another model than the run began with")
        for name, p in own.items():
            p.copy_(kept[name])
        return cls(model, state["log_partition"], part(state, _CHAIN))

    @staticmethod
    def read(path: Path, like: PairwiseModel) -> PairwiseModel:
        """Read a model with the visible units of another, onto the device of that one.

        Raises:
            ArgumentError: Its visible units are others, or its hidden units do not sum out.
            FileError: The file holds no model.
        """
        noise = load(path)
        alone = isinstance(noise, PairwiseModel) and len(noise.observed_blocks()) == 1
        if not isinstance(noise, PairwiseModel) or not (alone and noise.hidden_sums_out()):
            expected = f"a model whose hidden units sum out, not this {noise.kind}"
            raise invalid("noise", str(path), expected)
        if _kinds(noise.visible) != _kinds(like.visible):
            raise ArgumentError(f"noise: got {noise.visible} in {path}, expected {like.visible}")
        return noise.to(like.device, like.dtype).requires_grad_(False)

    def draw(self, n: int, times: int, stream: Stream) -> Tensor:
        gibbs, rows, missing = Gibbs(), [], n * times
        while missing > 0:
            first = {block: x[:missing] for block, x in self.chain.items()}
            first, _ = gibbs.step(self.model, first, stream)
            rows.append(first["visible"])
            missing -= len(rows[-1])
            self.chain = {
                block: torch.cat((x[len(rows[-1]) :], first[block])) for block, x in self.chain.items()
            }
        return torch.cat(rows)

    def log_density(self, rows: Tensor) -> Tensor:
        return self.model.log_sum({"visible": rows}) - self.log_z

    def state(self) -> State:
        chain = {block: self.chain[block] for block in self.model.blocks()}
        parameters = named(_MODEL, {name: p.detach() for name, p in self.model.named_parameters()})
        return {"log_partition": self.log_z, **parameters, **named(_CHAIN, chain)}


def _kinds(unit: Unit) -> list[tuple[str, int, int]]:
    """Return what the states of a layer look like, part by part."""
    parts = unit.parts if isinstance(unit, Mixed) else [unit]
    return [(part.kind, part.size, part.width) for part in parts]
