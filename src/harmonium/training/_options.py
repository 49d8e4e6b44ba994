"""The settings of a training run."""

from __future__ import annotations

__all__ = ["MOVING", "OF_RULE", "SCHEDULES", "Options"]

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from ..errors import ArgumentError, choose, invalid
from ..likelihood import ESTIMATORS, log_partition
from ..likelihood import SCHEDULES as ANNEALING
from ..models import RBM
from ..settings import Settings

OF_RULE = "rule."
"""What the names of a rule's own settings begin with."""

_FLAT = 0.3
MOVING = ("lr", "momentum", "betas", "half_life")
"""The options that may go to another value in the course of a run."""
_LIKELIHOOD = ("method", "runs", "betas", "schedule", "equilibrate")


def _linear(share: float) -> float:
    """Constant over the first 30 % of the updates, then on a straight line to zero."""
    return min(1.0, (1 - share) / (1 - _FLAT))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": _linear,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
    "sqrt": lambda share: 1 / math.sqrt(1 + 10 * share),
}
"""What the rate is multiplied by, as a function of the share of the updates that is done."""


def _quick() -> dict[str, int | str]:
    """The settings of an estimate in passing."""
    return {"runs": 100, "betas": 1000, "equilibrate": 100}


class Options(Settings):
    """Creates the settings of a run; each is an argument of :func:`harmonium.fit`.

    Raises:
        ArgumentError: A name is unknown or a value out of range.
    """

    epochs: Annotated[int, Field(ge=0, description="passes over the training rows")] = 20
    batch_size: Annotated[int, Field(ge=1, description="rows in each update")] = 100
    init: Annotated[
        Literal["base-rates", "pca"],
        Field(
            description="how a fresh model starts: base-rates, or pca, the data's principal components too"
        ),
    ] = "base-rates"
    lr: Annotated[
        float | None,
        Field(
            gt=0,
            description="learning rate; by default 0.05, 0.005 with Gaussian or ReLU units, "
            "and of a gan 0.0005, or 0.002 for dcgan networks with spectral norms, of images up to 28 x 28",
        ),
    ] = None
    schedule: Annotated[
        str | Callable[[float], float],
        Field(description="constant, linear, cosine, sqrt, or a function of the share done"),
    ] = "linear"
    optimizer: Annotated[
        str | Callable[..., Any],
        Field(description="sgd, or any class of torch.optim by name, or a function of groups"),
    ] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1, description="momentum of sgd")] = 0.5
    betas: Annotated[
        tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None,
        Field(description="how much Adam and its like remember of gradients and of their squares"),
    ] = None
    weight_decay: Annotated[float, Field(ge=0, description="L2 penalty on the weights, never on biases")] = (
        0.0
    )
    l1: Annotated[
        float, Field(ge=0, description="L1 penalty on the couplings, never on biases, with exact zeros")
    ] = 0.0
    max_norm: Annotated[
        float | None, Field(gt=0, description="the most that the norm of a hidden unit's weights may be")
    ] = None
    max_gradient: Annotated[
        float | None, Field(gt=0, description="clip the norm of the gradient at this")
    ] = None
    averaging: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="average the parameters over about this last share of the updates; 0: do not",
        ),
    ] = 0.1
    half_life: Annotated[
        float | None,
        Field(ge=0, description="rows after which what was averaged counts half, if not earlier"),
    ] = None
    final: Annotated[
        dict[str, Any],
        Field(
            description="values that lr, momentum, betas, half_life or numbers of the rule, as rule.r1, go to"
        ),
    ] = Field(default_factory=dict)
    final_at: Annotated[
        float, Field(gt=0, le=1, description="share of the updates after which they are there")
    ] = 0.2
    seed: Annotated[int, Field(ge=0, lt=2**64, description="of everything random")] = 0
    probe: Annotated[
        int, Field(ge=2, description="rows of the training and validation sets that monitors read")
    ] = 1000
    likelihood_every: Annotated[
        int, Field(ge=0, description="epochs between estimates of the likelihood; 0: none")
    ] = 0
    likelihood: Annotated[
        dict[str, int | str], Field(description="arguments of log_partition for those estimates")
    ] = Field(default_factory=_quick)
    patience: Annotated[
        int | None,
        Field(ge=1, description="stop after this many scores without a better one, keep the best"),
    ] = None
    score: Annotated[
        str | None,
        Field(description="the metric that patience watches; higher is better"),
    ] = None
    checkpoint_every: Annotated[
        float, Field(gt=0, description="seconds between checkpoints within an epoch")
    ] = 60.0
    keep: Annotated[int, Field(ge=1, description="checkpoints to keep")] = 2
    samples_every: Annotated[
        int, Field(ge=0, description="epochs between pictures of the chains, for images; 0: none")
    ] = 0
    tensorboard: Annotated[bool, Field(description="write TensorBoard events as well")] = False

    @field_validator("schedule")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if isinstance(value, str):
            choose("schedule", value, SCHEDULES)
        return value

    @field_validator("likelihood")
    @classmethod
    def _fit_for_log_partition(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            choose("likelihood", name, _LIKELIHOOD)
        choose("method", value.get("method", "auto"), ESTIMATORS)
        choose("schedule", value.get("schedule", "adaptive"), ANNEALING)
        log_partition(RBM(1, 1), **{**value, "method": "exact"})
        return value

    @field_validator("final")
    @classmethod
    def _can_be_reached(cls, value: dict[str, Any]) -> dict[str, Any]:
        ends = dict(value)
        for name, end in value.items():
            if name.startswith(OF_RULE):
                continue
            choose("final", name, MOVING)
            if end is None:
                raise invalid(f"final.{name}", end, "a value to go to")
            try:
                ends[name] = getattr(cls(**{name: end}), name)
            except ArgumentError as error:
                raise ArgumentError(f"final.{error}") from None
        return ends

    def rate(self, share: float) -> float:
        """Return what the learning rate is multiplied by when ``share`` of the updates is done."""
        schedule = SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule
        return schedule(share)
