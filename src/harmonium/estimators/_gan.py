"""Synthetic rows from a generative adversarial network."""

from __future__ import annotations

__all__ = ["GANSampler"]

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from ..learning import Adversarial
from ..models import GAN
from ..training import fit
from ._base import Estimator, data_set, draw_seed, drawn


class GANSampler(Estimator):
    """Creates a sampler of rows like those that it has seen. What it makes has no likelihood.

    Arguments:
        network: The family of both networks, such as ``mlp`` for tables, or ``dcgan`` for images.
        shape: The shape of a row that is an image, as (28, 28); (columns) if not given.
        visible: What the columns are: ``auto``, ``bernoulli`` for values from 0 to 1, or ``gaussian``.
        loss: What the players lose: ``nonsaturating``, ``relativistic``, ``wasserstein``, ...; or a rule.
        learning_rate: By default that of the networks' family: 0.0005, or 0.002 for ``dcgan`` with spectral
            norms and images up to 28 x 28.
        batch_size: Rows in each update.
        n_iter: Passes over the rows.
        options: More options of ``hm.fit``, by name.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        device: Where to train.
    """

    def __init__(
        self,
        network: Any = "mlp",
        *,
        shape: Sequence[int] | None = None,
        visible: str = "auto",
        loss: Any = "nonsaturating",
        learning_rate: float | None = None,
        batch_size: int = 64,
        n_iter: int = 100,
        options: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = None,
        device: Any = "cpu",
    ) -> None:
        self.network = network
        self.shape = shape
        self.visible = visible
        self.loss = loss
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.options = options
        self.verbose = verbose
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows of shape (rows, columns); ``y`` is not looked at.

        Raises:
            ValueError: The rows do not fit the units, or a parameter is out of range.
        """
        rows, unit, transform = self._understand(self._rows(X, reset=True))
        seeds = check_random_state(self.random_state)
        shape = (rows.shape[1],) if self.shape is None else tuple(self.shape)
        model = GAN.of(self.network, shape, visible=unit, seed=draw_seed(seeds))
        rule = self.loss if isinstance(self.loss, Adversarial) else Adversarial(loss=self.loss)
        options = {**self._usual(), "seed": draw_seed(seeds)}
        self._run(fit, model, data_set(rows, unit, transform), rule=rule, **options)
        self.model_ = model
        return self

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> NDArray[np.float64]:
        """Draw rows as those of the fit, shape (n_samples, columns).

        Arguments:
            n_samples: How many.
            random_state: Seeds the draw; the estimator's own if not given.
        """
        return drawn(self, n_samples, random_state)
