r"""Learning from rows with gaps, and when to stop: the model has to tell of known cells that are held out.

Before each pass over the rows a chain for each of them takes a step, which draws what the row lacks. At ten
times on the way, and before the first pass, the parameters' means since the last of them are judged by

.. math:: \frac{1}{|O|} \sum_{i \in O} \log p(x_i \mid x_\mathrm{known})

over the cells O that were held out; the best ones are kept. A row's cells are held out where another row
has gaps, so that what is told of them is as hard as what will be asked for: the neighbours of a cell say
much of it where cells are missing one by one, and nothing where whole blocks are.
"""

from __future__ import annotations

__all__ = ["GapLearner"]

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..learning import Rule
from ..models import RBM
from ..random import Stream
from ..samplers import GapChains, LinearMap
from ._online import Course, advance

_HELD_OUT = 0.1
_JUDGED = 250
_TIMES = 10
_PATIENCE = 4
_FLAT = 0.3
_REFRESH = 5
_BURN_IN, _KEPT = 10, 20


class GapLearner:
    """Creates what trains a model by rows with gaps.

    Arguments:
        model: The model, fresh, on the device where it is to be trained.
        rows: Rows of scores and codes, NaN where a value is missing, shape (rows, columns).
        linear: The map of the numbers.
        rule: The learning rule.
        options: Of :func:`harmonium.training.advance`.
        seed: Of everything random.
    """

    def __init__(
        self,
        model: RBM,
        rows: Tensor,
        linear: LinearMap | None,
        rule: Rule,
        options: dict[str, Any],
        seed: int,
    ) -> None:
        self.model, self.rule, self.options = model, rule, options
        self.stream = Stream(seed, "imputer")
        self.linear = None if linear is None else LinearMap(*(part.to(model.weight) for part in linear))
        rows = rows.to(model.weight)
        count = min(_JUDGED, -(-len(rows) // 2))
        order = self.stream.child("judged").permutation(len(rows))[:count].to(rows.device)
        self.truth = rows[order]
        self.held = _held_out(self.truth, rows.isnan(), self.stream.child("held out"))
        left = rows.clone()
        left[order] = self.truth.masked_fill(self.held, torch.nan)
        self.shown = left[order]
        self.gaps = GapChains(model, left, self.linear, self.stream.child("gaps"))

    def learn(self, passes: int, rate: float, tell: Callable[[int, float], None]) -> float:
        """Train, leave the model with the best parameters, and return how well they told of held-out cells.

        Arguments:
            passes: Over the rows, at most.
            rate: The learning rate, which falls to zero over the last passes.
            tell: Called with the pass and the score at each time of judgement.
        """
        visible, values = self.model.visible, self.gaps.values()
        total = visible.statistics(values).double().sum(0)
        self.model.initialise(visible.smoothed(total, len(values)).to(visible.bias))
        course = Course(self.stream.child("course"))
        best, kept, since = self.score(), self._parameters(), 0
        tell(0, best)
        average, count, every = self._parameters(), 0, max(1, passes // _TIMES)
        for number in range(1, passes + 1):
            share = (number - 1) / passes
            lr = rate * min(1.0, (1 - share) / (1 - _FLAT))
            advance(self.model, self.gaps.values(), self.rule, course, lr=lr, **self.options)
            count += 1
            for name, value in self._parameters().items():
                average[name] += (value - average[name]) / count
            if number % _REFRESH == 0:
                self.gaps.refresh()
            self.gaps.step()
            if number % every and number < passes:
                continue
            now = self._parameters()
            self._set(average)
            score = self.score()
            tell(number, score)
            best, kept, since = (score, average, 0) if score > best else (best, kept, since + 1)
            self._set(now)
            average, count = self._parameters(), 0
            if since >= _PATIENCE:
                break
        self._set(kept)
        return best

    def score(self) -> float:
        """Return the mean log-probability of the cells that were held out, in nats."""
        if not bool(self.held.any()):
            return -math.inf
        chains = GapChains(self.model, self.shown, self.linear, self.stream.child("score"))
        numbers = chains.numbers.shape[-1]
        p = torch.zeros_like(chains.probabilities[0])
        density = torch.zeros_like(chains.numbers[0])
        truth = self.truth[:, self.truth.shape[1] - numbers :]
        for number in range(_BURN_IN + _KEPT):
            chains.step()
            if number < _BURN_IN:
                continue
            p += chains.probabilities.mean(0) / _KEPT
            scale = torch.where(chains.there, 1.0, chains.deviations)
            off = (truth - chains.means[0]) / scale
            density += torch.exp(-0.5 * off.square()) / (scale * math.sqrt(2 * math.pi)) / _KEPT
        unit = self.model.visible
        codes = unit.statistics(self.truth.nan_to_num())[:, : p.shape[1]]
        own = unit.expand(self.held)[:, : p.shape[1]]
        binary = torch.tensor([part.kind == "bernoulli" for part in chains.parts for _ in range(part.width)])
        binary = binary.to(own.device)
        right = torch.where((codes > 0) | ~binary[: p.shape[1]], p, 1 - p)
        chosen = own & ((codes > 0) | binary[: p.shape[1]])
        held = self.held[:, self.held.shape[1] - numbers :]
        found = torch.cat((right[chosen], density[held]))
        return float(found.clamp(min=1e-6).log().mean())

    def _parameters(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    @torch.no_grad()
    def _set(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            parameter.copy_(values[name])


def _held_out(truth: Tensor, gaps: Tensor, stream: Stream) -> Tensor:
    """Return which known cells are held out: a tenth of them if no row lacks any.

    Arguments:
        truth: The rows that are judged, shape (judged, columns).
        gaps: Which cells of which row are missing, shape (rows, columns).
        stream: Where random bits come from.
    """
    known = ~truth.isnan()
    some = gaps[gaps.any(1)]
    if not len(some):
        return known & (stream.uniform(*truth.shape).to(truth.device) < _HELD_OUT)
    donors = (stream.uniform(len(truth), 1)[:, 0] * len(some)).long()
    held = known & some[donors.to(some.device)]
    return held & (known & ~held).any(1, keepdim=True)
