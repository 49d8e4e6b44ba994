"""Rows whose missing values are filled in by draws from a model, given the values that there are."""

from __future__ import annotations

__all__ = ["Imputed", "draw_missing", "fill_in", "impute"]

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, check_memory, invalid
from ..models import PairwiseModel, State, check_model, inferred_fields
from ..random import Stream
from ..units import Mixed, Unit, as_rows
from ._gibbs import Gibbs

_ELEMENTS = 1 << 22
_SWEEPS = 10
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Imputed:
    """What rows that lack values may be; what is known of them is the same in all of it."""

    draws: Tensor
    """Values drawn, shape (draws, rows, size); of one row they are independent."""
    missing: Tensor
    """Which values were drawn, shape (rows, size)."""
    kinds: tuple[str, ...]
    """The type of each unit, shape (size)."""
    expected: Tensor | None = None
    """Values expected given the other layers of the chains, averaged over them, shape (rows, size); the means
    of the draws stand in if there are none."""

    @property
    def mean(self) -> Tensor:
        """Averages of the expected values, shape (rows, size); of codes, which have none, the draws' mode.

        Given the other layers they vary less than the draws do (Rao-Blackwell).
        """
        return self._choose(self._averages(), self._most_frequent(), self._columns("categorical"))

    @property
    def mode(self) -> Tensor:
        """The most frequent values, shape (rows, size), the least of equal ones; of real units, of which no
        draw is like another, their mean."""
        return self._choose(self._most_frequent(), self._averages(), self._columns("gaussian"))

    def interval(self, share: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the ends of intervals that hold another draw with a probability, shape (rows, size) each.

        They leave out the same at both ends. Those of bits and spins are values that they take, and hold at
        least as much; codes have no order, and NaN for both ends.

        Arguments:
            share: The probability, from 0 to 1.

        Raises:
            ArgumentError: It is out of range, or the draws are too few for it.
        """
        n = len(self.draws)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise invalid("share", share, "a number between 0 and 1")
        place = (n + 1) * (1 - share) / 2 - 1
        if place < -_ROUNDING:
            most = (n - 1) / (n + 1)
            raise invalid("share", share, f"at most {most:.3g} of {n} draws; take more draws")
        order, low = self.draws.sort(0).values, max(int(place), 0)
        rest = max(place - low, 0.0)
        ends = []
        for first, second in ((low, low + 1), (n - 1 - low, n - 2 - low)):
            end = torch.lerp(order[first], order[second], rest)
            end = self._choose(end, order[first], ~self._columns("gaussian"))
            nothing = torch.full_like(end, torch.nan)
            ends.append(self._choose(end, nothing, self._columns("categorical")))
        return ends[0], ends[1]

    def _averages(self) -> Tensor:
        return self.draws.mean(0) if self.expected is None else self.expected

    def _most_frequent(self) -> Tensor:
        return self.draws.mode(0).values

    def _columns(self, kind: str) -> Tensor:
        return torch.tensor([own == kind for own in self.kinds], device=self.draws.device)

    def _choose(self, usual: Tensor, other: Tensor, columns: Tensor) -> Tensor:
        """Return one of two values of what was missing, by the column, and the values that are known."""
        return torch.where(self.missing, torch.where(columns, other, usual), self.draws[0])


@torch.no_grad()
def impute(model: PairwiseModel, rows: Any, *, draws: int = 100, steps: int = 100, seed: int = 0) -> Imputed:
    """Fill in what rows lack by draws from a model given what is known.

    Each draw is the end of a chain of its own: clamped Gibbs sampling from where mean field leads. As for all
    that is made of rows with gaps, values are to be missing at random.

    Arguments:
        model: A model with an energy.
        rows: Rows of shape (rows, size), NaN where a value is missing.
        draws: Of each row.
        steps: Gibbs steps of each chain.
        seed: The seed of the chains.

    Returns:
        The draws, and what they say of each value: ``mean``, ``mode``, ``interval``.

    Raises:
        ArgumentError: ``draws`` or ``steps`` is out of range, or layers of the model are there twice.
        ArgumentTypeError: The model is none with an energy, or the rows are no numbers.
        DataError: The rows do not fit the visible units.
    """
    check_model(model, PairwiseModel)
    for name, value in (("draws", draws), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise invalid(name, value, "an integer of at least 1")
    if model.tied():
        raise ArgumentError(
            "model: got one with a layer that is there twice, expected one with each layer once"
        )
    unit, given = model.visible, as_rows("rows", rows)
    unit.check_shape(given, "rows")
    if given.shape[1] != unit.size:
        raise DataError(f"rows: got shape {tuple(given.shape)}, expected values of shape (rows, {unit.size})")
    unit.validate(given, name="rows", gaps=True)
    check_memory("draws", draws, draws * given.numel())
    return fill_in(model, given, draws, steps, Stream(seed, "impute"))


@torch.no_grad()
def fill_in(model: PairwiseModel, given: Tensor, draws: int, steps: int, stream: Stream) -> Imputed:
    """Return what :func:`impute` does of rows that have been checked, by the random bits of a stream."""
    unit = model.visible
    given = given.to(model.device)
    given = given if given.is_floating_point() else given.to(model.dtype)
    missing = given.isnan()
    filled, expected = given.expand(draws, -1, -1).clone(), given.clone()
    own = missing.any(1).nonzero()[:, 0]
    for number, index in enumerate(own.split(max(1, _ELEMENTS // (draws * unit.width)))):
        s, known = unit.known_statistics(given[index].repeat(draws, 1))
        if known is None:
            continue
        chain = _chains(model, s, known, steps, stream.child(f"part {number}"))
        for target, found in ((filled, model.shown(chain)), (expected[None], _expected(model, chain, draws))):
            values = unit.values(found).view(len(target), len(index), -1).to(filled)
            target[:, index] = torch.where(missing[index], values, given[index])
    return Imputed(filled, missing, _kinds(unit), expected)


@torch.no_grad()
def draw_missing(
    model: PairwiseModel, s: Tensor, known: Tensor, steps: int, stream: Stream, sweeps: int = _SWEEPS
) -> Tensor:
    """Return visible statistics with what is missing drawn, shape (rows, width), a chain for each row.

    Arguments:
        model: The model.
        s: The statistics; what is missing counts for nothing.
        known: Which of them are known, likewise.
        steps: Gibbs steps of each chain.
        stream: Where the random bits come from.
        sweeps: Of mean field, from whose fields the chains start.
    """
    return model.shown(_chains(model, s, known, steps, stream, sweeps))


def _chains(
    model: PairwiseModel, s: Tensor, known: Tensor, steps: int, stream: Stream, sweeps: int = _SWEEPS
) -> State:
    """Return the states of chains of clamped Gibbs sampling, one for each row of statistics."""
    fields = inferred_fields(model, model.observed(s), model.observed(known), sweeps)
    start = {b: model.layer(b).sample(fields[b].contiguous(), stream) for b in model.observed_blocks()}
    gibbs = Gibbs()
    chain = gibbs.init(model, len(s), stream, start, clamp=s.masked_fill(~known, torch.nan))
    return gibbs.run(model, chain, stream, steps)


def _expected(model: PairwiseModel, chain: State, draws: int) -> Tensor:
    """Return visible statistics expected given all else, averaged over draws, shape (rows, width)."""
    means = {b: model.layer(b).expected_statistics(model.field(b, chain)) for b in model.observed_blocks()}
    return model.shown(means).unflatten(0, (draws, -1)).mean(0)


def _kinds(unit: Unit) -> tuple[str, ...]:
    """Return the type of each unit of a layer."""
    parts = list(unit.parts) if isinstance(unit, Mixed) else [unit]
    return tuple(part.kind for part in parts for _ in range(part.size))
