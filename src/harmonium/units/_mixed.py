r"""Layers of several types of units side by side: labels beside pixels, the columns of a table.

The parts are independent in their fields, so that all that is asked of the layer is asked of each part for
its own columns, and joined: sums of log-partition functions, rows of statistics.
"""

from __future__ import annotations

__all__ = ["Mixed"]

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, ArgumentTypeError, invalid, show
from ..random import Stream
from ._unit import Fault, Unit


class Mixed(Unit):
    """Creates a layer of parts side by side.

    A row of values has one column for each unit, with codes for categorical ones; a row of statistics those
    of all parts. The parts are copied, and their biases become slices of the layer's own, ``bias``; Gaussian
    parts keep their own precisions.

    Arguments:
        parts: Layers of units of any types.

    Raises:
        ArgumentError: There is no part, or one is itself mixed.
        ArgumentTypeError: A part is no layer of units.
    """

    kind = "mixed"
    parts: Sequence[Unit]

    def __init__(self, *parts: Unit) -> None:
        _check(parts)
        super().__init__(sum(part.size for part in parts))
        self.width = sum(part.width for part in parts)
        self.binary = all(part.binary for part in parts)
        self.discrete = all(part.discrete for part in parts)
        self.hidden_only = any(part.hidden_only for part in parts)
        self.bias = nn.Parameter(torch.cat([part.bias.detach() for part in parts]))
        self.parts = cast(Sequence[Unit], nn.ModuleList(_without_bias(part) for part in parts))
        self.to(self.bias)
        self._units = _slices([part.size for part in parts])
        self._columns = _slices([part.width for part in parts])

    # --- states ---------------------------------------------------------------------------------

    def statistics(self, x: Tensor) -> Tensor:
        if x.shape[-1] == self.width:
            return x.to(self.bias)
        parts = zip(self.parts, self._units, strict=True)
        return torch.cat([part.statistics(x[..., own]) for part, own in parts], -1)

    def values(self, s: Tensor) -> Tensor:
        return torch.cat([part.values(s[..., own]).to(s) for part, own in self._slots()], -1)

    def expand(self, per_unit: Tensor) -> Tensor:
        parts = zip(self.parts, self._units, strict=True)
        return torch.cat([part.expand(per_unit[..., own]) for part, own in parts], -1)

    def count(self) -> float:
        return math.prod(part.count() for part in self.parts)

    def numbered(self, number: Tensor) -> Tensor:
        """Return the states that have these numbers, in float64; the first part's are the first to change."""
        states = []
        for part in self.parts:
            n = int(part.count())
            states.append(part.numbered(number % n))
            number = number // n
        return torch.cat(states, -1)

    def subset(self, which: Tensor) -> Mixed:
        chosen = [(part, which[own]) for part, own in zip(self.parts, self._units, strict=True)]
        layer = Mixed(*(part.subset(own) for part, own in chosen if bool(own.any())))
        layer.bias.data = self.bias.detach()[self.expand(which)]
        return layer

    def accepts(self, x: Tensor, means: bool) -> Tensor:
        slices = self._columns if x.shape[-1] == self.width else self._units
        parts = zip(self.parts, slices, strict=True)
        return torch.cat([part.accepts(x[..., own], means) for part, own in parts], -1)

    def expected(self, means: bool) -> str:
        return "; ".join(f"of part {i} {part.expected(means)}" for i, part in enumerate(self.parts))

    def fault(self, row: Tensor, unit: int, means: bool) -> Fault:
        i = next(i for i, units in enumerate(self._units) if unit < units.stop)
        part, units = self.parts[i], self._units[i]
        own = self._columns[i] if len(row) == self.width else units
        fault = part.fault(row[own], unit - units.start, means)
        first = own.start if fault.place == "column" else units.start
        expected = f"{fault.expected} (part {i}, {part.kind})"
        return fault._replace(number=first + fault.number, expected=expected)

    # --- energies and expectations --------------------------------------------------------------

    def own_energy(self, x: Tensor) -> Tensor:
        return torch.stack([part.own_energy(x[..., own]) for part, own in self._slots()]).sum(0)

    def log_partition(self, field: Tensor) -> Tensor:
        return torch.stack([part.log_partition(field[..., own]) for part, own in self._slots()]).sum(0)

    def neutral(self) -> Tensor:
        return torch.cat([part.neutral() for part in self.parts])

    def expected_statistics(self, field: Tensor) -> Tensor:
        return torch.cat([part.expected_statistics(field[..., own]) for part, own in self._slots()], -1)

    def variance(self, mean: Tensor, weight: Tensor) -> Tensor:
        return torch.stack(
            [part.variance(mean[..., own], weight[:, own]) for part, own in self._slots()]
        ).sum(0)

    def mean(self, field: Tensor, beta: Tensor | None = None) -> Tensor:
        return torch.cat([part.mean(field[..., own], beta) for part, own in self._slots()], -1)

    def entropy(self, field: Tensor) -> Tensor:
        return torch.stack([part.entropy(field[..., own]) for part, own in self._slots()]).sum(0)

    def natural(self, mean: Tensor) -> Tensor:
        return torch.cat([part.natural(mean[..., own]) for part, own in self._slots()], -1)

    def smoothed(self, total: Tensor, rows: int | Tensor) -> Tensor:
        counts = rows if isinstance(rows, Tensor) else torch.full_like(total, rows)
        return torch.cat([part.smoothed(total[own], counts[own]) for part, own in self._slots()])

    def own_moments(
        self, x: Tensor, weight: Tensor, out: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        found = {}
        for i, (part, own) in enumerate(self._slots()):
            prefix = f"parts.{i}."
            room = {k.removeprefix(prefix): t for k, t in (out or {}).items() if k.startswith(prefix)}
            for name, moment in part.own_moments(x[:, own], weight, room).items():
                found[prefix + name] = moment
        return found

    # --- samples --------------------------------------------------------------------------------

    def sample_(
        self,
        field: Tensor,
        stream: Stream,
        mean: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Tensor:
        for part, own in self._slots():
            fields = field[:, own].contiguous()
            means = None if mean is None else torch.empty_like(fields)
            field[:, own] = part.sample_(fields, stream, means, beta)
            if mean is not None and means is not None:
                mean[:, own] = means
        return field

    def noise_field(self, n: int) -> Tensor:
        field = torch.cat([part.noise_field(n) for part in self.parts], -1)
        for part, own in self._slots():
            if not part.discrete:
                field[:, own] = self.bias.detach()[own]
        return field

    # --- configuration --------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "parts": [part.config() for part in self.parts]}

    def extra_repr(self) -> str:
        return ""

    def _slots(self) -> Iterator[tuple[Unit, slice]]:
        """Yield the parts with their columns."""
        return zip(self.parts, self._columns, strict=True)


def _check(parts: tuple[Unit, ...]) -> None:
    if not parts:
        raise invalid("parts", parts, "at least one layer of units")
    for i, part in enumerate(parts):
        if not isinstance(part, Unit):
            raise ArgumentTypeError(f"parts: got {show(part)} as part {i}, expected a layer of units")
        if isinstance(part, Mixed):
            raise ArgumentError(f"parts: got a mixed layer as part {i}, expected its parts themselves")


def _without_bias(part: Unit) -> Unit:
    """Return a copy whose bias is a buffer of zeros, which tells dtype and device and is not saved."""
    copied = copy.deepcopy(part)
    bias = torch.zeros_like(copied.bias, requires_grad=False)
    del copied.bias
    copied.register_buffer("bias", bias, persistent=False)
    return copied


def _slices(sizes: list[int]) -> list[slice]:
    return [slice(*ends) for ends in pairwise(accumulate(sizes, initial=0))]
