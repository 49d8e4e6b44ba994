r"""The adversarial rule: two networks learn against each other, each in its own turn.

In each update the discriminator sees a batch of data and as many rows that the generator makes, and lowers
its loss; then, once in every ``discriminator_steps`` updates, the generator lowers its own, on the same rows
and with the discriminator as it now is. With unlimited networks, and the discriminator at its best
throughout, the generator of the minimax game lowers

.. math:: \max_d v(g, d) = -\log 4 + 2\, \mathrm{JS}(p_\text{data} \,\|\, p_g).

Networks that take turns need not come to rest there: gradient penalties on data and made rows, spectral
normalisation and a running average of the generator are what helps.

What each player loses says little of how good the rows are. ``told`` is the share of pairs of a row of data
and a made one in which the discriminator gives data the higher score, the area under its ROC curve: one half
where it can tell nothing, and 1 where it has won. A Wasserstein critic should tell all pairs, so it has no
such number. All metrics are running means over about a hundred updates.

References:
    | Generative adversarial nets (Goodfellow et al., 2014)
    | The GAN is dead; long live the GAN! A modern GAN baseline (Huang, Gokaslan, Kuleshov & Tompkin, 2024)
"""

from __future__ import annotations

__all__ = ["Adversarial"]

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from ..errors import ArgumentError, invalid
from ..models import GAN, Model, State
from ..random import Stream
from ._augment import augment
from ._moment_rule import named, part
from ._own_bits import own_bits
from ._payoffs import PAYOFFS
from ._rule import Apply, Batch, Metrics, Rule
from ._slopes import Judge, between, change_squared, slope, slope_squared

_MEAN = "mean."
_MEMORY = 0.01
_USUAL = 10.0


class Adversarial(Rule):
    r"""Creates the rule of the adversarial game for a generative adversarial network.

    Arguments:
        loss: What the players lose: ``minimax``, ``nonsaturating``, ``least-squares``, ``wasserstein``,
            ``hinge`` or ``relativistic``.
        r1: The weight :math:`\gamma` of the penalty :math:`\tfrac{\gamma}{2} E\|\nabla d(x)\|^2` on slopes
            of the score at rows of data; by default 1 for the relativistic loss, and 0 for others.
        r2: The same at made rows.
        difference: The size of the random step that slopes for ``r1`` and ``r2`` are estimated from, such as
            0.01; by default they are exact.
        gradient_penalty: The weight :math:`\lambda` of the penalty
            :math:`\lambda E(\|\nabla d(x)\| - 1)^2` between rows of data and made ones; by default 10 for the
            Wasserstein loss, and 0 for others.
        discriminator_steps: Updates of the discriminator for one of the generator.
        discriminator_rate: Its learning rate, as a multiple of the fit's.
        augment: What of images is changed before the discriminator sees them, data and made ones alike:
            ``colour``, ``translation`` and ``cutout``.
        mixed_precision: Whether networks compute in bfloat16 where that does little harm.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "adversarial"
    fits: ClassVar[type[Model]] = GAN
    usual: ClassVar[dict[str, Any]] = {
        "batch_size": 64,
        "schedule": "constant",
        "optimizer": "Adam",
        "betas": (0.0, 0.99),
        "half_life": 20_000.0,
    }
    remedy: ClassVar[str] = "lower lr, raise the rule's r1 and r2, or set max_gradient"
    loss: Annotated[
        Literal["minimax", "nonsaturating", "least-squares", "wasserstein", "hinge", "relativistic"],
        Field(description="what the players lose"),
    ] = "nonsaturating"
    r1: Annotated[
        float | None,
        Field(ge=0, description="penalty on slopes at data; by default 1 if relativistic, else 0"),
    ] = None
    r2: Annotated[
        float | None, Field(ge=0, description="that at made rows; by default 1 if relativistic, else 0")
    ] = None
    difference: Annotated[
        float | None, Field(gt=0, description="step to estimate these slopes from; exact by default")
    ] = None
    gradient_penalty: Annotated[
        float | None,
        Field(ge=0, description="penalty on slopes other than 1; by default 10 if wasserstein, else 0"),
    ] = None
    discriminator_steps: Annotated[
        int, Field(ge=1, description="the discriminator's updates for one of the generator")
    ] = 1
    discriminator_rate: Annotated[
        float, Field(gt=0, description="the discriminator's learning rate as a multiple of lr")
    ] = 1.0
    augment: Annotated[
        tuple[Literal["colour", "translation", "cutout"], ...],
        Field(description="what of images is changed at random before they are judged, a list"),
    ] = ()
    mixed_precision: Annotated[bool, Field(description="compute in bfloat16 where that does little harm")] = (
        False
    )

    def check(self, model: Model) -> None:
        if not isinstance(model, GAN):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        for player, group in self.parameters(model).items():
            if not group:
                raise ArgumentError(
                    f"model: got a {player} that is frozen, expected one with parameters to train"
                )
        if {*model.generator.parameters()} & {*model.discriminator.parameters()}:
            raise ArgumentError("model: got players that share parameters, expected each to have its own")
        if self.augment and len(model.shape) != 3:
            raise invalid("augment", self.augment, "nothing, as rows are no images")
        for name, value in self.numbers().items():
            if value and _mixes(model):
                expected = "0, as the discriminator normalises over the batch, so that rows have no slopes"
                raise invalid(name, value, f"{expected} of their own")
        penalised = self._weight(self.r1) or self._weight(self.r2)
        if self.difference is not None and penalised and (self.mixed_precision or _drops(model)):
            noise = "bfloat16 rounds" if self.mixed_precision else "the discriminator's dropout changes"
            raise invalid("difference", self.difference, f"none, as {noise} scores by more than such a step")

    def parameters(self, model: Model, state: State | None = None) -> dict[str, dict[str, Tensor]]:
        assert isinstance(model, GAN)
        return {
            player: {f"{player}.{k}": p for k, p in network.named_parameters() if p.requires_grad}
            for player, network in model.networks.items()
        }

    def numbers(self) -> dict[str, float]:
        return {"r1": self._weight(self.r1), "r2": self._weight(self.r2), "gradient_penalty": self._wish}

    def rates(self, model: Model) -> dict[str, float]:
        return {"discriminator": self.discriminator_rate}

    def averaged(self, model: Model, state: State | None = None) -> dict[str, Tensor]:
        """Return what the generator has learned, the statistics of its activations included."""
        assert isinstance(model, GAN)
        buffers = {f"generator.{k}": b for k, b in model.generator.named_buffers() if b.is_floating_point()}
        return {**self.parameters(model, state)["generator"], **buffers}

    def init(self, model: Model, stream: Stream) -> State:
        means = {name: torch.zeros((), dtype=torch.float64) for name in self._names}
        return {"updates": torch.zeros((), dtype=torch.int64), **named(_MEAN, means)}

    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        assert isinstance(model, GAN)
        model.train()
        updates = int(state["updates"]) + 1
        turn = updates % self.discriminator_steps == 0
        x, codes = model.split(batch.values)
        with own_bits(model, stream, unseen=model.foreign):
            with torch.set_grad_enabled(turn), self._mixed(model):
                made = model.make(model.latents(len(x), stream), codes).to(x.dtype)
            with torch.enable_grad():
                seen = self._discriminate(model, x, made.detach(), codes, batch.weights, stream)
                apply("discriminator")
                if turn:
                    seen |= self._generate(model, x, made, codes, batch.weights, stream)
                    apply("generator")
        means = {name: mean for name, mean in part(state, _MEAN).items() if name in self._names}
        for name in means.keys() & seen.keys():
            times = updates // self.discriminator_steps if name == "generator_loss" else updates
            means[name] = means[name].lerp(seen[name].detach().to(means[name]), max(1 / times, _MEMORY))
        return {"updates": torch.tensor(updates), **named(_MEAN, means)}, means

    def _discriminate(
        self, model: GAN, x: Tensor, made: Tensor, codes: Tensor | None, weights: Tensor, stream: Stream
    ) -> Metrics:
        """Set the discriminator's gradients."""
        judge = self._judge(model, codes)
        x, made = (augment(rows, self.augment, stream) for rows in (x, made))
        r, f, penalty = self._scores(judge, x, made, weights, stream, together=not _mixes(model))
        loss = weights @ PAYOFFS[self.loss].discriminator(r, f)
        if self._wish:
            slopes = slope(judge, between(x, made, stream))
            penalty = penalty + self._wish * (weights @ (slopes - 1).square())
        _set_gradients(loss + penalty, model.discriminator)
        told = weights @ (0.5 * (r > f) + 0.5 * (r >= f)).to(weights)
        return {"discriminator_loss": loss, "data_score": weights @ r, "made_score": f.mean(), "told": told}

    def _generate(
        self, model: GAN, x: Tensor, made: Tensor, codes: Tensor | None, weights: Tensor, stream: Stream
    ) -> Metrics:
        """Set the generator's gradients."""
        judge, payoffs = self._judge(model, codes), PAYOFFS[self.loss]
        f = judge(augment(made, self.augment, stream))
        r = f.detach()
        if payoffs.paired:
            with torch.no_grad():
                r = judge(augment(x, self.augment, stream))
        loss = weights @ payoffs.generator(r, f)
        _set_gradients(loss, model.generator)
        return {"generator_loss": loss}

    def _scores(
        self, judge: Judge, x: Tensor, made: Tensor, weights: Tensor, stream: Stream, *, together: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the scores of data and of made rows, and the penalty on their slopes.

        All rows go through the discriminator together, unless it couples them, or one half alone is
        penalised.
        """
        r1, r2 = self._weight(self.r1), self._weight(self.r2)
        if together and bool(r1) == bool(r2):
            shares = torch.cat((r1 * weights, r2 * weights))
            scores, penalty = self._flattened(judge, torch.cat((x, made)), shares, bool(r1), stream)
            r, f = scores.chunk(2)
            return r, f, penalty
        r, first = self._flattened(judge, x, r1 * weights, bool(r1), stream)
        f, second = self._flattened(judge, made, r2 * weights, bool(r2), stream)
        return r, f, first + second

    def _flattened(
        self, judge: Judge, x: Tensor, shares: Tensor, penalised: bool, stream: Stream
    ) -> tuple[Tensor, Tensor]:
        """Return scores, and half the sum over rows of their shares times their squared slopes."""
        if not penalised:
            return judge(x), shares.new_zeros(())
        if self.difference is None:
            scores, squares = slope_squared(judge, x)
        else:
            scores, squares = change_squared(judge, x, self.difference, stream)
        return scores, 0.5 * (shares @ squares)

    def _judge(self, model: GAN, codes: Tensor | None) -> Judge:
        """Return the discriminator for rows of these classes, once or several times over."""

        def judge(x: Tensor) -> Tensor:
            own = None if codes is None else codes.repeat(len(x) // len(codes))
            with self._mixed(model):
                return model.judge(x, own).to(x.dtype)

        return judge

    def _mixed(self, model: GAN) -> torch.autocast:
        """Let a network compute in bfloat16, if that is asked for.

        For one pass only: autocast keeps its casts of weights, which may be updated after it.
        """
        return torch.autocast(model.device.type, torch.bfloat16, enabled=self.mixed_precision)

    def _weight(self, given: float | None) -> float:
        """Return the weight of a penalty on slopes at rows."""
        return (1.0 if self.loss == "relativistic" else 0.0) if given is None else given

    @property
    def _names(self) -> list[str]:
        """The names of the metrics."""
        names = ["discriminator_loss", "generator_loss", "data_score", "made_score"]
        return names if PAYOFFS[self.loss].critic else [*names, "told"]

    @property
    def _wish(self) -> float:
        """The weight of the penalty on slopes other than 1."""
        usual = _USUAL if self.loss == "wasserstein" else 0.0
        return usual if self.gradient_penalty is None else self.gradient_penalty


def _mixes(model: GAN) -> bool:
    """Return whether the discriminator normalises over the batch."""
    return any(isinstance(layer, _BatchNorm) for layer in model.discriminator.modules())


def _drops(model: GAN) -> bool:
    """Return whether the discriminator has layers of dropout; that of a function cannot be seen."""
    return any(isinstance(layer, _DropoutNd) and layer.p > 0 for layer in model.discriminator.modules())


def _set_gradients(loss: Tensor, network: torch.nn.Module) -> None:
    """Set the gradients of a network's parameters."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    for parameter, gradient in zip(
        parameters, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
    ):
        parameter.grad = gradient
