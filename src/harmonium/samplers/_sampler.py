"""The protocol of all samplers: state in, state out."""

from __future__ import annotations

__all__ = ["Info", "Sampler"]

from abc import ABC, abstractmethod
from typing import TypeAlias

import torch
from torch import Tensor

from ..models import EnergyModel, State
from ..random import Stream

Info: TypeAlias = dict[str, Tensor]
"""What a step observed, by name."""


class Sampler(ABC):
    """Abstract Markov chain that leaves a model's distribution as it is.

    A state is a dictionary of tensors whose first dimension counts the chains, so that a checkpoint
    can hold it. Units that the state clamps keep their values.
    """

    @abstractmethod
    def init(
        self,
        model: EnergyModel,
        n: int,
        stream: Stream,
        start: State | None = None,
        clamp: Tensor | State | None = None,
        beta: Tensor | None = None,
    ) -> State:
        """Return the state of ``n`` chains.

        Arguments:
            model: The distribution.
            n: The number of chains.
            stream: Where the random bits come from.
            start: States of some blocks; the others are drawn given them.
            clamp: Visible statistics of shape (n, width), NaN where a unit is free; or such statistics
                of any blocks, by name.
            beta: The chains' inverse temperatures, shape (n).
        """

    @abstractmethod
    def step(self, model: EnergyModel, state: State, stream: Stream) -> tuple[State, Info]:
        """Take one step and return the new state and what was observed on the way."""

    @torch.no_grad()
    def run(self, model: EnergyModel, state: State, stream: Stream, steps: int) -> State:
        """Take a number of steps and return the last state."""
        for _ in range(steps):
            state, _ = self.step(model, state, stream)
        return state
