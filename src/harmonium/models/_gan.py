r"""Generative adversarial networks: a generator that makes rows, and a discriminator that tells them from
data.

A row is made in one pass from latent numbers of a fixed law, :math:`x = g(z)`, which says how to draw and
leaves the density untold. The discriminator gives each row a score d(x). Where it is the best one in the game
of 2014, its score is the log of how much more likely the row is to come from the data,

.. math:: d^*(x) = \log \frac{p_\text{data}(x)}{p_g(x)}, \qquad
    \sigma(d^*(x)) = \frac{p_\text{data}(x)}{p_\text{data}(x) + p_g(x)}.

Both networks see values in their own scale: those of Bernoulli units, such as grey levels from 0 to 1,
between -1 and 1, real ones as they are. What a generator makes beyond 0 and 1 is cut off when rows are drawn;
in the game the discriminator sees it.

References:
    | Generative adversarial nets (Goodfellow et al., 2014)
"""

from __future__ import annotations

__all__ = ["GAN", "LAWS"]

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, ArgumentTypeError, choose, invalid, show
from ..random import Stream
from ..units import Bernoulli, Categorical, Gaussian, Mixed, Unit, as_rows, unit_from_config
from ._base import GenerativeModel
from ._networks import NETWORKS, RATE, Family, Network, Rows, Unflatten

_ROWS = 256

LAWS: dict[str, Callable[..., Tensor]] = {
    "normal": lambda stream, *shape, **where: stream.normal(*shape, **where),
    "uniform": lambda stream, *shape, **where: (2 * stream.uniform(*shape, **where) - 1) * math.sqrt(3),
}
"""The laws of latent numbers by name; all have the mean 0 and the variance 1."""


class GAN(GenerativeModel):
    """Creates a generative adversarial network of any two networks.

    The generator maps latent numbers of shape (rows, latent) to rows of shape (rows, *shape), the
    discriminator those to scores, shape (rows) or (rows, 1). Where there are classes, both take their codes,
    shape (rows), as a second argument. Networks that :meth:`of` makes know all that is asked for below but
    ``visible``, ``law`` and ``channels_last``; of others ``latent`` and ``shape`` are to be stated.

    Arguments:
        generator: The generator.
        discriminator: The discriminator.
        latent: How many latent numbers the generator takes.
        shape: The shape of a row: (columns), (height, width) or (channels, height, width).
        visible: What a row holds, labels apart: Bernoulli units for values from 0 to 1, the default, or
            Gaussian ones for real values.
        law: Of the latent numbers: ``normal`` or ``uniform``, both of variance 1.
        classes: How many classes rows come in, if both networks are told of them.
        channels_last: Whether images lie in memory pixel by pixel, which makes convolutions quicker.

    Raises:
        ArgumentError: A network does not take what it is given, or gives another shape; or an argument is
            missing or out of range.
        ArgumentTypeError: A network is none.
    """

    kind = "gan"
    implicit: ClassVar[bool] = True

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        latent: int | None = None,
        shape: Sequence[int] | None = None,
        visible: Unit | None = None,
        law: str | None = None,
        classes: int | None = None,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        for name, network in (("generator", generator), ("discriminator", discriminator)):
            if not isinstance(network, nn.Module):
                raise ArgumentTypeError(f"{name}: got {show(network)}, expected a torch.nn.Module")
            if not any(p.requires_grad for p in network.parameters()):
                raise invalid(name, network, "a network with parameters to train")
        known = _known(generator, discriminator)
        self.latent = _positive("latent", latent if latent is not None else known.get("latent"))
        self.shape = _shape(shape if shape is not None else known.get("shape"))
        self.classes = _classes(classes if classes is not None else known.get("classes"))
        self.law = law or known.get("law", "normal")
        choose("law", self.law, LAWS)
        self.columns = math.prod(self.shape)
        self._pixels = _pixels(visible, self.columns).config()
        self.bounded = self._pixels["kind"] == Bernoulli.kind
        self.channels_last = bool(channels_last) and len(self.shape) == 3
        self.generator, self.discriminator = generator, discriminator
        self._check_families()
        if self.channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for part in self.modules():
                if isinstance(part, Unflatten):
                    part.channels_last = True
        self._try()

    @classmethod
    def of(
        cls,
        network: str | Family,
        shape: Sequence[int],
        *,
        visible: Unit | None = None,
        law: str | None = None,
        classes: int | None = None,
        channels_last: bool = True,
        seed: int = 0,
        **settings: Any,
    ) -> Self:
        """Make both networks of a family, for rows of a shape.

        Arguments:
            network: The family's name in ``NETWORKS``, or the family itself.
            shape: The shape of a row: (columns), (height, width) or (channels, height, width).
            visible: What a row holds, labels apart: Bernoulli units for values from 0 to 1, the default, or
                Gaussian ones for real values.
            law: Of the latent numbers: ``normal`` or ``uniform``, both of variance 1; by default the
                family's.
            classes: How many classes rows come in, if both networks are to be told of them.
            channels_last: Whether images lie in memory pixel by pixel, which makes convolutions quicker.
            seed: Draws the weights.
            settings: Those of the family, if it is named.

        Raises:
            ArgumentError: The family is unknown, has no such setting, or does not fit the shape.
        """
        if isinstance(network, Family):
            if settings:
                raise ArgumentError(f"{next(iter(settings))}: got a setting of a family that is made already")
            family = network
        else:
            family = choose("network", network, NETWORKS)(**settings)
        own = _shape(shape)
        rows = Rows(own, _classes(classes), _pixels(visible, math.prod(own)).kind == Bernoulli.kind)
        players = family.generator(rows, seed), family.discriminator(rows, seed)
        return cls(*players, visible=visible, law=law, channels_last=channels_last)

    # --- what it is -----------------------------------------------------------------------------

    @property
    def visible(self) -> Unit:  # type: ignore[override]
        """The values of a row, and its label if there is one."""
        pixels = self.pixels
        if self.classes is None:
            return pixels
        return Mixed(pixels, Categorical(1, self.classes)).to(pixels.bias)

    @property
    def pixels(self) -> Unit:
        """The values of a row, its label apart."""
        return unit_from_config(self._pixels).to(self.device, self.dtype)

    @property
    def device(self) -> torch.device:
        return next(self.generator.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.generator.parameters()).dtype

    @property
    def usual_rate(self) -> float:
        player = self.discriminator
        return player.family.rate(player.rows) if isinstance(player, Network) else RATE

    @property
    def foreign(self) -> bool:
        """Whether a network is of no family, so that nothing is known of how it works."""
        return not all(isinstance(network, Network) for network in self.networks.values())

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both players by name."""
        return {"discriminator": self.discriminator, "generator": self.generator}

    def config(self) -> dict[str, Any]:
        players = {
            name: network.config() if isinstance(network, Network) else None
            for name, network in self.networks.items()
        }
        return {
            **players,
            "latent": self.latent,
            "shape": list(self.shape),
            "visible": self._pixels,
            "law": self.law,
            "classes": self.classes,
            "channels_last": self.channels_last,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        values = dict(config)
        players = {}
        for name in ("generator", "discriminator"):
            own = values.pop(name)
            if own is None:
                raise ArgumentError(f"its {name} is a network of the user's own: name the model, by model=")
            rows = Rows(tuple(own["shape"]), own["classes"], own["bounded"])
            family = choose("network", own["network"], NETWORKS)(**own["settings"])
            players[name] = getattr(family, name)(rows)
        return cls(**players, **{**values, "visible": unit_from_config(values["visible"])})

    # --- what it does ---------------------------------------------------------------------------

    def latents(self, n: int, stream: Stream) -> Tensor:
        """Draw latent numbers, shape (n, latent)."""
        return LAWS[self.law](stream, n, self.latent, dtype=self.dtype, device=self.device)

    def split(self, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return rows as the networks see them, shape (rows, *shape), and the codes of their classes.

        Arguments:
            s: Statistics of rows, shape (rows, width), the label's included.
        """
        x = s[:, : self.columns].reshape(len(s), *self.shape)
        if self.bounded:
            x = 2 * x - 1
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        return x, None if self.classes is None else s[:, self.columns :].argmax(1)

    def make(self, z: Tensor, codes: Tensor | None = None) -> Tensor:
        """Return what the generator makes, as the networks see it, shape (rows, *shape).

        Arguments:
            z: Latent numbers, shape (rows, latent).
            codes: The codes of the classes, shape (rows), where there are some.
        """
        x: Tensor = self.generator(z) if codes is None else self.generator(z, codes)
        return x.reshape(len(z), *self.shape)

    def judge(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        """Return the discriminator's scores, shape (rows).

        Arguments:
            x: Rows as the networks see them, shape (rows, *shape).
            codes: The codes of their classes, shape (rows), where there are some.
        """
        scores: Tensor = self.discriminator(x) if codes is None else self.discriminator(x, codes)
        return scores.reshape(len(x))

    @torch.no_grad()
    def score(self, v: Any) -> Tensor:
        """Return the discriminator's scores of rows, shape (rows): the higher, the more like data.

        Arguments:
            v: Rows of values, shape (rows, size), the label's code last where there is one.

        Raises:
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the rows of data cannot have.
        """
        rows, unit = as_rows("v", v), self.visible
        unit.validate(rows, means=True, name="v")
        with self.resting():
            blocks = (self.split(unit.statistics(block.to(self.device))) for block in rows.split(_ROWS))
            return torch.cat([self.judge(x, codes) for x, codes in blocks])

    def values(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        """Return rows as data have them, shape (rows, size), the label's code last.

        Arguments:
            x: Rows as the networks see them, shape (rows, *shape).
            codes: The codes of their classes, shape (rows), where there are some.
        """
        rows = x.reshape(len(x), self.columns)
        if self.bounded:
            rows = ((rows + 1) / 2).clamp(0, 1)
        return rows if codes is None else torch.cat((rows, codes[:, None].to(rows)), 1)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Keep both networks in evaluation mode, and bring them back to the one that they were in."""
        modes = {part: part.training for part in self.modules()}
        self.eval()
        try:
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode

    def _check_families(self) -> None:
        """Check that networks of a family were made for rows like those of the other, and of the model."""
        for name, network in self.networks.items():
            if not isinstance(network, Network):
                continue
            got, own = network.rows, Rows(self.shape, self.classes, self.bounded)
            if got._replace(shape=tuple(got.shape)) != own:
                raise ArgumentError(f"{name}: got one for {_rows(got)}, expected one for {_rows(own)}")

    @torch.no_grad()
    def _try(self) -> None:
        """Check that both networks take what they will be given, by two rows of zeros."""
        z = torch.zeros(2, self.latent, dtype=self.dtype, device=self.device)
        codes = None if self.classes is None else torch.zeros(2, dtype=torch.int64, device=self.device)
        given = f"latent numbers of shape (rows, {self.latent})"
        of_shape = f"(rows, {', '.join(map(str, self.shape))})"
        also = "" if codes is None else " and codes of classes of shape (rows)"
        with self.resting():
            try:
                made = self.generator(z) if codes is None else self.generator(z, codes)
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise _unfit("generator", error, f"one that takes {given}{also}") from error
            if not isinstance(made, Tensor) or made.numel() != 2 * self.columns or len(made) != 2:
                raise invalid("generator", _made(made), f"one that makes rows of shape {of_shape}")
            x = made.reshape(2, *self.shape)
            try:
                scores = self.discriminator(x) if codes is None else self.discriminator(x, codes)
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                raise _unfit(
                    "discriminator", error, f"one that takes rows of shape {of_shape}{also}"
                ) from error
            if not isinstance(scores, Tensor) or scores.numel() != 2:
                raise invalid("discriminator", _made(scores), "one that gives each row one score")


def _known(generator: nn.Module, discriminator: nn.Module) -> dict[str, Any]:
    """Return what networks of a family know of themselves."""
    known: dict[str, Any] = {}
    for network in (discriminator, generator):
        if isinstance(network, Network):
            known |= {"shape": network.rows.shape, "classes": network.rows.classes}
    if isinstance(generator, Network):
        known |= {"latent": generator.family.latent, "law": generator.family.law}
    return known


def _pixels(visible: Unit | None, columns: int) -> Unit:
    """Return the units of a row, checked; without a density there is no precision to learn."""
    unit = Bernoulli(columns) if visible is None else visible
    if not isinstance(unit, Unit) or unit.kind not in ("bernoulli", "gaussian"):
        raise invalid("visible", visible, "Bernoulli units, for values from 0 to 1, or Gaussian ones")
    if unit.size != columns:
        raise invalid("visible", unit, f"{columns} units, as the shape has so many values")
    if not isinstance(unit, Gaussian):
        return unit
    if bool(unit.log_precision.any()):
        raise invalid("visible", unit, "Gaussian units of precision 1, as there is no density")
    return Gaussian(columns)


def _shape(shape: Any) -> tuple[int, ...]:
    """Return a shape with its channels; raise if it is none."""
    expected = "the shape of a row, as (784,), (28, 28) or (3, 32, 32)"
    if shape is None:
        raise ArgumentError(f"shape: missing, expected {expected}")
    if isinstance(shape, str) or not isinstance(shape, Sequence) or not 1 <= len(shape) <= 3:
        raise invalid("shape", shape, expected)
    for length in shape:
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise invalid("shape", shape, expected)
    return (1, *shape) if len(shape) == 2 else tuple(shape)


def _positive(name: str, value: Any) -> int:
    if value is None:
        raise ArgumentError(f"{name}: missing, expected a positive number")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(name, value, "a positive number")
    return value


def _classes(value: Any) -> int | None:
    if value is not None and _positive("classes", value) < 2:
        raise invalid("classes", value, "at least two classes")
    return value


def _rows(rows: Rows) -> str:
    """Say what rows a network is made for."""
    values = "from -1 to 1" if rows.bounded else "real"
    classes = "no" if rows.classes is None else f"{rows.classes}"
    return f"rows of shape {tuple(rows.shape)}, values {values}, {classes} classes"


def _unfit(name: str, error: Exception, expected: str) -> ArgumentError:
    """Return the error for a network that fails on what it is given."""
    return ArgumentError(f"{name}: got one that fails ({show(str(error))}), expected {expected}")


def _made(out: object) -> str:
    """Say what came out of a network for two rows."""
    return (
        f"one that makes {tuple(out.shape)} of two" if isinstance(out, Tensor) else f"one that makes {out!r}"
    )
