r"""Restricted Boltzmann machines: two layers, each independent given the other.

.. math:: E(v, h) = E_v(v) + E_h(h) - s(v)^\top W s(h)

where :math:`E_v, E_h` are the energies of the layers' own units. Given one layer, the other's units are
independent with fields :math:`a_h = c + W^\top s(v)` and :math:`a_v = b + W s(h)`; and the hidden layer
sums out, which leaves the free energy :math:`F(v) = E_v(v) - A_h(c + W^\top s(v))`.

One of the layers may be there twice, as two copies of the same units and couplings. With two visible ones the
hidden units feel :math:`c + W^\top (s(v) + s(v'))`, twice as much where the copies agree, as they do in data:
what a deep Boltzmann machine's layer feels of its two neighbours once each is known from a machine like this.

References:
    | Information processing in dynamical systems: foundations of harmony theory (Smolensky, 1986)
    | Exponential family harmoniums (Welling, Rosen-Zvi & Hinton, 2004)
    | A practical guide to training restricted Boltzmann machines (Hinton, 2012)
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009), on layers that are there twice
"""

from __future__ import annotations

__all__ = ["RBM"]

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor

from ..errors import choose
from ..units import Unit, unit_from_config
from ._base import Coupling, State
from ._layers import SCALE, as_layer, as_mask, check_pair, initial_weight, warn_of_idle
from ._pairwise import PairwiseModel

_TWIN = "twin"


class RBM(PairwiseModel):
    """Creates a restricted Boltzmann machine.

    Arguments:
        visible: The visible layer; a number makes Bernoulli units, and a configuration, such as the ``layer``
            of a :class:`harmonium.datasets.Schema`, the units that it tells of.
        hidden: The hidden layer; a number makes Bernoulli units.
        weight_mask: Which visible unit may be coupled to which hidden one, truth values of shape
            (visible units, hidden units); all if not given.
        doubled: The layer that is there twice, ``visible`` or ``hidden``; neither by default. A row of
            data is then both of the visible copies.
        inner: Whether the visible layer is a hidden one of a network that the machine is a part of, and may
            have ReLU units.
        weight_scale: The standard deviation of the initial weights. Larger ones set hidden units apart from
            the start, which saves updates where few are made.
        seed: Draws the initial weights, N(0, ``weight_scale``^2).

    Raises:
        ArgumentError: Both layers have real units (their joint need not be normalisable), the visible
            one ReLU units, or the hidden layer would learn its precision (which only rescales the weights);
            the mask has another shape; there are more weights than memory holds; ``doubled`` is no layer; or
            ``weight_scale`` is negative.
    """

    kind = "rbm"
    hidden: Unit

    def __init__(
        self,
        visible: int | Unit | Mapping[str, Any],
        hidden: int | Unit | Mapping[str, Any],
        *,
        weight_mask: Any = None,
        doubled: str | None = None,
        inner: bool = False,
        weight_scale: float = SCALE,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.visible = as_layer("visible", visible, inner=inner)
        self.hidden = as_layer("hidden", hidden)
        check_pair(self.visible, self.hidden)
        if doubled is not None:
            choose("doubled", doubled, ("visible", "hidden"))
        self.doubled = doubled
        self._below, self._above = (_copies(layer, doubled) for layer in ("visible", "hidden"))
        self._couplings = tuple(Coupling(a, b, "weight") for a in self._below for b in self._above)
        self.weight = initial_weight(self.visible, self.hidden, seed, weight_scale)
        self.register_buffer("base_rates", torch.full((self.visible.width,), torch.nan))
        self.weight_mask: Tensor | None
        self.register_buffer("weight_mask", None)
        if weight_mask is not None:
            self.weight_mask = as_mask(weight_mask, self.visible, self.hidden)
            self.weight.data *= self.weight_mask
            mask = self.weight_mask.bool()
            warn_of_idle("weight_mask", ("visible", "hidden"), self.visible, mask.any(1))
            warn_of_idle("weight_mask", ("hidden", "visible"), self.hidden, mask.any(0))

    def config(self) -> dict[str, Any]:
        own: dict[str, Any] = {"visible": self.visible.config(), "hidden": self.hidden.config()}
        own |= {} if self.weight_mask is None else {"masked": True}
        return own if self.doubled is None else {**own, "doubled": self.doubled}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        visible, hidden = unit_from_config(config["visible"]), unit_from_config(config["hidden"])
        mask = torch.ones(visible.size, hidden.size) if config.get("masked", False) else None
        return cls(visible, hidden, weight_mask=mask, doubled=config.get("doubled"), inner=True)

    def blocks(self) -> tuple[str, ...]:
        return self._below + self._above

    def observed_blocks(self) -> tuple[str, ...]:
        return self._below

    def observed(self, s: Tensor) -> State:
        return dict.fromkeys(self._below, s)

    def layer(self, block: str) -> Unit:
        return self.visible if block in self._below else self.hidden

    def place(self, block: str) -> str:
        return self.doubled if block == _TWIN and self.doubled is not None else block

    def couplings(self) -> tuple[Coupling, ...]:
        return self._couplings

    def mask(self, coupling: Coupling) -> Tensor | None:
        return self.weight_mask

    def encode(self, v: Any) -> Tensor:
        """Return the expected hidden statistics given rows of data, shape (rows, hidden width).

        Arguments:
            v: The rows, as :meth:`free_energy` takes them.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        return self.hidden.expected_statistics(self.field("hidden", self.given(v)))

    def reconstruct(self, v: Any) -> Tensor:
        """Return the visible means given :meth:`encode`'s hidden means, shape (rows, width).

        Arguments:
            v: The rows, as :meth:`free_energy` takes them.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        means = dict.fromkeys(self._above, self.encode(v))
        return self.visible.mean(self.field("visible", means))


def _copies(layer: str, doubled: str | None) -> tuple[str, ...]:
    """Return the blocks that are copies of a layer."""
    return (layer, _TWIN) if layer == doubled else (layer,)
