r"""Settings that go from a first value to a final one while a run begins.

With t the share of all updates that is done and b the share that ``final_at`` states, a setting has the value

.. math:: s(t) = s_\text{first} + \tfrac12 \big(1 - \cos(\pi \min\{1, t / b\})\big)\,
    (s_\text{final} - s_\text{first}),

a function of t alone, so that a run that was cut off goes on where it was. A learning rate is multiplied by
its schedule as well.

References:
    | The GAN is dead; long live the GAN! A modern GAN baseline (Huang, Gokaslan, Kuleshov & Tompkin, 2024)
"""

from __future__ import annotations

__all__ = ["Moving"]

import math
from typing import Any

from ..errors import ArgumentError, choose, invalid, show
from ..learning import Rule
from ._optimiser import Optimisers
from ._options import OF_RULE, Options

_GROUPED = ("betas", "momentum")
"""The options that an optimiser keeps for each of its groups of parameters."""


class Moving:
    """Creates what brings the settings of a run to their final values.

    Arguments:
        options: The run's settings.
        rule: The learning rule.
        optimisers: Have the first values of what belongs to them.

    Raises:
        ArgumentError: The rule has no such number, the optimiser no such setting, or a value is out of range.
    """

    def __init__(self, options: Options, rule: Rule, optimisers: Optimisers) -> None:
        self.length, self.rule = options.final_at, rule
        self.pairs: dict[str, tuple[Any, Any]] = {}
        ends = {k.removeprefix(OF_RULE): v for k, v in options.final.items() if k.startswith(OF_RULE)}
        self.last = _with(rule, ends)
        for name, first in rule.numbers().items():
            if name in ends:
                self.pairs[OF_RULE + name] = first, self.last.numbers()[name]
        for name, last in options.final.items():
            if not name.startswith(OF_RULE):
                self.pairs[name] = _first(name, options, optimisers), last

    def values(self, share: float) -> dict[str, Any]:
        """Return the values of what changes, by name, when ``share`` of the updates is done."""
        way = 0.5 * (1 - math.cos(math.pi * min(1.0, share / self.length)))
        return {name: _between(first, last, way) for name, (first, last) in self.pairs.items()}

    def settle(self, share: float, optimisers: Optimisers) -> Rule:
        """Set what optimisers keep, the rate apart, and return the rule as it is then."""
        if not self.pairs:
            return self.rule
        values = self.values(share)
        for name in _GROUPED:
            if name in values:
                optimisers.set(name, values[name])
        own = {name.removeprefix(OF_RULE): v for name, v in values.items() if name.startswith(OF_RULE)}
        return self.rule.model_copy(update=own)

    def rate(self, share: float) -> float:
        """Return what the learning rate is multiplied by, its schedule apart."""
        if "lr" not in self.pairs:
            return 1.0
        return float(self.values(share)["lr"] / self.pairs["lr"][0])

    def half_life(self, share: float) -> float | None:
        """Return the half-life of the average, if it changes."""
        return self.values(share)["half_life"] if "half_life" in self.pairs else None


def _with(rule: Rule, ends: dict[str, Any]) -> Rule:
    """Return a rule with its numbers at their final values."""
    for name, value in ends.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid(f"final.{OF_RULE}{name}", value, "a number")
        if not rule.numbers():
            raise ArgumentError(f"final.{OF_RULE}{name}: {rule.name} has no number that can change")
        choose(f"final.{OF_RULE[:-1]}", name, rule.numbers())
    try:
        return type(rule)(**{**rule.model_dump(), **ends})
    except ArgumentError as error:
        raise ArgumentError(f"final.{OF_RULE}{error}") from None


def _first(name: str, options: Options, optimisers: Optimisers) -> Any:
    """Return the value that an option begins with."""
    if name == "lr":
        return optimisers.lr
    first = optimisers.get(name) if name in _GROUPED else getattr(options, name)
    if first is None:
        had = "such an optimiser" if name in _GROUPED else f"a first value, {name}"
        raise ArgumentError(f"final.{name}: got {show(options.final[name])}, which needs {had}")
    return first


def _between(first: Any, last: Any, way: float) -> Any:
    """Return what lies on the way from one number, or pair of them, to another."""
    if isinstance(first, (tuple, list)):
        return tuple(_between(a, b, way) for a, b in zip(first, last, strict=True))
    return first + way * (last - first)
