r"""Densities of rows, and what is unlikely under them.

.. math:: \log p(x) = -F(y) - \log Z + \log \left| \det \frac{\partial y}{\partial x} \right|

for rows x, which real ones are standardised from to y. log Z is estimated once, at the end of the fit; its
error moves all rows alike, so that an order of rows, and what is called an outlier, do not depend on it.

A density says what is rare, and may be high where no row is: between those that it knows, or where rows are
simple (Nalisnick et al. 2019, "Do deep generative models know what they don't know?"). Where that matters,
outliers are rows x that are far from every row of the fit, in nats,

.. math:: \min_i J(x, x_i), \qquad J(x, x') = \mathrm{KL}(p(h \mid x) \,\|\, p(h \mid x'))
    + \mathrm{KL}(p(h \mid x') \,\|\, p(h \mid x)) + \sum_i \beta_i (x_i - x'_i)^2,

where the last term is of real units, with their precisions :math:`\beta`, and is not there for others.
"""

from __future__ import annotations

__all__ = ["RBMDensity"]

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ..errors import DataError, choose, invalid
from ..likelihood import log_partition
from ..models import RBM
from ..training import fit
from ..units import Unit
from ._base import ROWS, Estimator, data_set, draw_seed, drawn, hidden_of, make_rule
from ._nearest import Neighbours

_CRITERIA = ("density", "nearest")
_LIKELIHOOD = {"runs": 100, "betas": 1000, "equilibrate": 100}


class RBMDensity(OutlierMixin, Estimator):
    """Creates a density of rows, and a detector of those that are unlikely under it.

    With ``visible="auto"`` rows of 0 and 1 are binary, and all others real: of values between 0 and 1 there
    is no density under binary units.

    Arguments:
        n_components: The number of hidden units.
        visible: What the columns are: ``auto``, ``bernoulli``, ``gaussian``, ``spin``, or a layer of units.
        hidden: The type of the hidden units: ``bernoulli``, ``spin``, ``gaussian`` or ``relu``.
        contamination: The share of the rows of the fit that are outliers, above 0 and at most 0.5.
        criterion: What tells outliers: ``density``, that they are unlikely; or ``nearest``, that J from every
            row of the fit is large. Those rows are kept, and each is itself compared with the others alone.
        rule: A learning rule, or its name in ``hm.RULES``.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some.
        learning_rate: By default 0.05, and 0.005 with Gaussian or ReLU units.
        batch_size: Rows in each update.
        n_iter: Passes over the rows.
        options: More options of ``hm.fit``, by name.
        likelihood: Arguments of ``hm.log_partition``, by name; by default 100 runs of 1,000 steps where log Z
            is not exact.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        device: Where to train.
    """

    _grey = False

    def __init__(
        self,
        n_components: int = 64,
        *,
        visible: Any = "auto",
        hidden: str = "bernoulli",
        contamination: float = 0.1,
        criterion: str = "density",
        rule: Any = "pcd",
        steps: int = 1,
        chains: int = 100,
        learning_rate: float | None = None,
        batch_size: int = 100,
        n_iter: int = 50,
        options: dict[str, Any] | None = None,
        likelihood: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = None,
        device: Any = "cpu",
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.contamination = contamination
        self.criterion = criterion
        self.rule = rule
        self.steps = steps
        self.chains = chains
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.options = options
        self.likelihood = likelihood
        self.verbose = verbose
        self.random_state = random_state
        self.device = device

    def _check(self, rows: Tensor, unit: Unit) -> None:
        try:
            super()._check(rows, unit)
        except DataError as error:
            if unit.kind != "bernoulli":
                raise
            told = str(error).split(" (grey values")[0]
            raise DataError(
                f"{told}, such as X > 0.5; visible='gaussian' has a density of other values"
            ) from None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows of shape (rows, columns), and estimate log Z; ``y`` is not looked at.

        Raises:
            ValueError: The rows do not fit the units, or a parameter is out of range.
        """
        share = self.contamination
        if not (isinstance(share, int | float | np.number) and 0 < share <= 0.5):
            raise invalid("contamination", share, "a share above 0 and at most 0.5")
        nearest = choose("criterion", self.criterion, _CRITERIA) == "nearest"
        raw = self._rows(X, reset=True)
        if nearest and len(raw) < 2:
            raise DataError("X: got 1 row, expected at least 2 for criterion='nearest'")
        rows, unit, transform = self._understand(raw)
        seeds = check_random_state(self.random_state)
        hidden = hidden_of(self.hidden, self.n_components)
        model = RBM(unit, hidden, seed=draw_seed(seeds))
        rule = make_rule(self.rule, steps=self.steps, chains=self.chains)
        options = {**self._usual(), "seed": draw_seed(seeds)}
        history = self._run(fit, model, data_set(rows, unit, transform), rule=rule, **options)
        chains = None if history.chains is None else history.chains.cpu()
        how = {**_LIKELIHOOD, "chains": chains, "seed": draw_seed(seeds), **(self.likelihood or {})}
        self.log_partition_ = log_partition(model, **how)
        self.model_ = model.double()
        self._neighbours = self._keep_rows(X) if nearest else None
        self.offset_ = float(np.quantile(self._own_scores(X), share))
        return self

    @torch.no_grad()
    def _keep_rows(self, X: Any) -> Neighbours:
        return Neighbours(self.model_, self._further(X)[0])

    def _own_scores(self, X: Any) -> NDArray[np.float64]:
        """Return by what the rows of the fit are judged, each as if it were new to its neighbours."""
        if self._neighbours is None:
            return self.score_samples(X)
        return (-self._neighbours.among()).numpy()

    @torch.no_grad()
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the log-densities of rows of shape (rows, columns), shape (rows), in nats."""
        rows, _ = self._further(X)
        energy = torch.cat([self.model_.free_energy(block) for block in rows.split(ROWS)])
        transform = self.model_.transform
        shift = 0.0 if transform is None else transform.log_determinant
        return (shift - self.log_partition_.value - energy).numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of rows of shape (rows, columns), in nats per row."""
        return float(self.score_samples(X).mean())

    @torch.no_grad()
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return by how much rows are on the safe side of what counts as an outlier, shape (rows), in nats.

        Of log-densities, or of negative divergences from the nearest row of the fit, as ``criterion`` says.
        """
        check_is_fitted(self)
        if self._neighbours is None:
            return self.score_samples(X) - self.offset_
        rows, _ = self._further(X)
        return -self._neighbours.divergence(self.model_, rows).numpy() - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:
        """Return -1 for outliers, and 1 for all others, shape (rows).

        With ``criterion="nearest"`` rows of the fit are their own neighbours, and none is an outlier:
        :meth:`fit_predict` is for them.
        """
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def fit_predict(self, X: Any, y: Any = None) -> NDArray[np.int64]:
        """Learn from rows of shape (rows, columns), and return -1 for the outliers among them, else 1.

        Raises:
            ValueError: The rows do not fit the units, or a parameter is out of range.
        """
        return np.where(self.fit(X)._own_scores(X) >= self.offset_, 1, -1)

    def sample(
        self, n_samples: int = 1, *, steps: int = 1000, random_state: Any = None
    ) -> NDArray[np.float64]:
        """Draw rows as those of the fit, shape (n_samples, columns).

        Arguments:
            n_samples: How many.
            steps: Gibbs steps, from noise.
            random_state: Seeds the draw; the estimator's own if not given.
        """
        return drawn(self, n_samples, random_state, steps=steps)
