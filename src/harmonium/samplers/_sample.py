"""Rows drawn from a model: from noise or data, with some units given, at a temperature."""

from __future__ import annotations

__all__ = ["sample"]

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, DataError, invalid, show
from ..models import DBN, GAN, EnergyModel, GenerativeModel, State
from ..random import Stream
from ..units import Unit, as_rows
from ._ancestral import Ancestral, Completion
from ._generate import generate
from ._gibbs import Gibbs
from ._sampler import Sampler
from ._tempering import Tempering

_COLD, _HOT = 1e-30, 1e30
"""Between them a temperature, its inverse, and fields times it are single-precision numbers."""


@torch.no_grad()
def sample(
    model: GenerativeModel,
    n: int = 100,
    *,
    steps: int = 1000,
    seed: int = 0,
    start: Any = None,
    clamp: Any = None,
    temperature: float = 1.0,
    means: bool = False,
    replicas: int = 1,
    row: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    r"""Draw rows by block Gibbs sampling from :math:`p(v, h)^{1/T}`, or by parallel tempering.

    Of a deep belief network this is how the top RBM is sampled; the layers below follow in one pass down.
    With visible units clamped its chains run over all layers instead. A row of a generative adversarial
    network takes one pass and no steps; nothing of it can be clamped but the label.

    Arguments:
        model: The model.
        n: The number of rows, each from a chain of its own.
        steps: Gibbs steps, each over all blocks.
        seed: The seed of the chains.
        start: Rows that the chains start from, shape (n, size); noise if not given.
        clamp: Values to keep, shape (n, size) or (size), with NaN where a unit is free.
        temperature: T above, from 1e-30 to 1e30; below 1 rows are more typical, above 1 more varied.
        means: Return the visible means of the last step in place of a draw (clamped units keep
            their values).
        replicas: Of each chain, for parallel tempering where there is more than one; their ladder adapts in
            the first half of the steps.
        row: The number of the first row, for rows that are drawn in parts by one seed: without replicas they
            are, to rounding, those that are drawn at once.
        progress: Called after each step with the number of steps taken.

    Returns:
        Values of shape (n, size); probabilities of shape (n, width) for the means of categorical units.

    Raises:
        ArgumentError: ``n``, ``steps``, ``replicas``, ``row`` or ``temperature`` is out of range, or an
            argument is of chains where there are none.
        ArgumentTypeError: The model is none, or ``start`` or ``clamp`` no numbers.
        DataError: ``start`` or ``clamp`` does not fit the visible layer.
    """
    _check_count("n", n, 1)
    _check_count("steps", steps, 0)
    _check_count("replicas", replicas, 1)
    _check_count("row", row, 0)
    if not (isinstance(temperature, int | float) and _COLD <= temperature <= _HOT):
        raise invalid("temperature", temperature, "a positive number, from 1e-30 to 1e30")
    if isinstance(model, GAN):
        return _of_generator(model, n, Stream(seed, "sample", row), start, clamp, temperature, replicas)
    if not isinstance(model, (DBN, EnergyModel)):
        raise ArgumentTypeError(f"model: got {show(model)}, expected a model such as an RBM or a DBN")
    if isinstance(model, DBN) and model.depth == 1:
        model = model.top
    unit = model.visible
    first = held = None
    if start is not None:
        first = _start(unit, as_rows("start", start, "rows of values, or None for noise"), n)
    if clamp is not None:
        held = _clamp(unit, as_rows("clamp", clamp, "values, with NaN where a unit is free"), n)
    stream = Stream(seed, "sample", row * replicas)
    beta = None if temperature == 1 else torch.full((n,), 1 / temperature, device=model.device)
    chain: Sampler = Gibbs() if replicas == 1 else Tempering(replicas)
    walk = _Walk(stream, steps, progress)
    if isinstance(model, DBN):
        return _of_network(model, n, chain, walk, first, held, beta, means)
    begin: State | None = None if first is None else model.observed(first)
    state = walk(chain, model, chain.init(model, n, stream, begin, held, beta))
    if isinstance(chain, Tempering):
        state = chain.chains(model, state)
    if not means:
        return unit.values(model.shown(state))
    blocks = model.observed_blocks()
    mean = model.shown({b: model.layer(b).mean(model.field(b, state, beta), beta) for b in blocks})
    return mean if held is None else torch.where(held.isnan(), mean, held)


def _of_generator(
    model: GAN, n: int, stream: Stream, start: Any, clamp: Any, temperature: float, replicas: int
) -> Tensor:
    if start is not None:
        raise invalid("start", start, "None, as a generator has no chains")
    for name, value in {"temperature": temperature, "replicas": replicas}.items():
        if value != 1:
            raise invalid(name, value, "1, as a generator has no chains")
    codes = None
    if clamp is not None:
        held = _clamp(model.visible, as_rows("clamp", clamp, "values, with NaN where a unit is free"), n)
        pixels, label = held[:, : model.columns], held[:, model.columns :]
        if model.classes is None or not bool(pixels.isnan().all()) or bool(label.isnan().any()):
            raise invalid("clamp", clamp, "NaN but for the label, of a model that has one")
        codes = label.argmax(1)
    return generate(model, n, stream, codes)


class _Walk(NamedTuple):
    """How far chains go, and who is told."""

    stream: Stream
    steps: int
    progress: Callable[[int], None] | None

    def __call__(self, sampler: Any, model: GenerativeModel, state: State) -> State:
        chain = sampler.chain if isinstance(sampler, Ancestral) else sampler
        for step in range(1, self.steps + 1):
            state, _ = sampler.step(model, state, self.stream)
            if isinstance(chain, Tempering) and step.bit_count() == 1 and step <= self.steps // 2:
                state = chain.adapt(state)
            if self.progress is not None:
                self.progress(step)
        return state


def _of_network(
    model: DBN,
    n: int,
    chain: Sampler,
    walk: _Walk,
    first: Tensor | None,
    held: Tensor | None,
    beta: Tensor | None,
    means: bool,
) -> Tensor:
    pixels, label = (None, None) if held is None else model.split(held)
    if held is None or pixels is None or bool(pixels.isnan().all()):
        above = Ancestral(chain)
        state = walk(above, model, above.init(model, n, walk.stream, first, label, beta))
        return above.rows(model, state, walk.stream, means=means)
    if beta is not None or isinstance(chain, Tempering):
        name, value = ("replicas", "more than one") if beta is None else ("temperature", "one other than 1")
        raise ArgumentError(f"{name}: got {value}, expected 1 where visible units of a network are clamped")
    whole = Completion()
    state = walk(whole, model, whole.init(model, n, walk.stream, first, held))
    return whole.rows(model, state, walk.stream, means=means)


def _start(unit: Unit, start: Tensor, n: int) -> Tensor:
    unit.validate(start, means=True, name="start")
    if len(start) != n:
        raise DataError(f"start: got {len(start)} rows, expected {n}")
    return unit.statistics(start)


def _clamp(unit: Unit, clamp: Tensor, n: int) -> Tensor:
    """Return the statistics to keep, shape (n, width), NaN where free."""
    if clamp.ndim == 1:
        clamp = clamp.expand(n, -1)
    if clamp.shape != (n, unit.size):
        got = tuple(clamp.shape)
        raise DataError(f"clamp: got shape {got}, expected ({n}, {unit.size}) or ({unit.size},)")
    free = clamp.isnan()
    filler = unit.values(unit.sample_(unit.noise_field(1), Stream(0, "filler"))).to(clamp)
    values = torch.where(free, filler, clamp)
    unit.validate(values, name="clamp")
    held = unit.statistics(values).clone()
    held[unit.expand(free)] = torch.nan
    return held


def _check_count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise invalid(name, value, f"an integer of at least {least}")
