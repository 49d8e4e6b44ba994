r"""scikit-learn's Bernoulli RBM, with this library's rules beneath it.

.. math:: p(v, h) \propto \exp(b^\top v + c^\top h + h^\top W v)

with W of scikit-learn's shape (hidden x visible). Its ``score_samples`` draws a column i for each row and
returns :math:`d \log \sigma(F(v^{(i)}) - F(v))`, where :math:`v^{(i)}` is the row with column i flipped; here
the mean over all columns is returned, that is the pseudo-log-likelihood itself, which no draw changes.

References:
    | Training restricted Boltzmann machines using approximations to the likelihood gradient
    | (Tieleman, 2008)
"""

from __future__ import annotations

__all__ = ["BernoulliRBM"]

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from ..datasets import Dataset
from ..errors import choose
from ..learning import Rule
from ..models import RBM
from ..random import Stream
from ..training import fit
from ..units import Bernoulli, Unit
from ._base import as_option, data_set, draw_seed, hidden_of, make_rule
from ._transformers import Encoder

_BLOCK = 1024
_HIDDEN = "chain.hidden"


class BernoulliRBM(Encoder):
    """Creates a restricted Boltzmann machine of binary units, with scikit-learn's interface.

    As there, values are means from 0 to 1, which is checked only where bits are drawn with them, and
    ``partial_fit`` is one update by the rows that it is given. Other than there, visible biases start at the
    columns' base rates, the gradient is centred, the rate falls after the first 30 % of the updates, and the
    parameters are averaged over the last tenth of them.

    Arguments:
        n_components: The number of hidden units.
        learning_rate: The learning rate at the start.
        batch_size: Rows in each update.
        n_iter: Passes over the rows.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        rule: A learning rule, or its name in ``hm.RULES``.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some; as many as ``batch_size`` if not given.
        device: Where to train.
        binarisation: What is learned from where values are neither 0 nor 1: ``none``, the means themselves,
            as in scikit-learn; or ``sampled``, bits that are drawn with these means, afresh in each pass.
            :meth:`transform` takes means as they are in either case.
        weight_scale: The standard deviation of the weights at the start.
        options: More options of ``hm.fit``, by name; ``{"optimizer": "Adam"}`` needs far fewer passes, at a
            rate of about 0.03.
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        verbose: int = 0,
        random_state: Any = None,
        rule: Any = "pcd",
        steps: int = 1,
        chains: int | None = None,
        device: Any = "cpu",
        binarisation: str = "none",
        weight_scale: float = 0.01,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.verbose = verbose
        self.random_state = random_state
        self.rule = rule
        self.steps = steps
        self.chains = chains
        self.device = device
        self.binarisation = binarisation
        self.weight_scale = weight_scale
        self.options = options

    # --- what it has learned --------------------------------------------------------------------

    @property
    def components_(self) -> NDArray[np.float64]:
        """The couplings, shape (n_components, columns)."""
        return self.model_.weight.detach().numpy().T

    @property
    def intercept_hidden_(self) -> NDArray[np.float64]:
        """The hidden biases, shape (n_components)."""
        return self.model_.hidden.bias.detach().numpy()

    @property
    def intercept_visible_(self) -> NDArray[np.float64]:
        """The visible biases, shape (columns)."""
        return self.model_.visible.bias.detach().numpy()

    @property
    def h_samples_(self) -> NDArray[np.float64]:
        """The hidden states of the persistent chains, shape (chains, n_components)."""
        if _HIDDEN not in self._state:
            raise AttributeError(f"h_samples_: the rule {self.rule!r} has no persistent chains")
        return self._state[_HIDDEN].double().numpy()

    # --- learning -------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows of shape (rows, columns); ``y`` is not looked at.

        Raises:
            ValueError: The rows are no finite numbers, or no means that bits could be drawn with, or a
                parameter is out of range.
        """
        rows = self._rows(X, reset=True)
        self.random_state_ = check_random_state(self.random_state)
        model, data = self._fresh(rows), self._data(rows)
        options = {**self._usual(), "momentum": 0.0, "seed": draw_seed(self.random_state_)}
        history = self._run(fit, model, data, rule=self._rule(), **options)
        self._keep(model, history.state)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Take one step of the learning rate by rows of shape (rows, columns), all as one batch.

        Chains go on from where the last call, or :meth:`fit`, has left them.

        Raises:
            ValueError: The rows are no finite numbers, or no means that bits could be drawn with, have other
                columns, or a parameter is out of range.
        """
        first = not hasattr(self, "model_")
        rows = self._rows(X, reset=first)
        if first:
            self.random_state_ = check_random_state(self.random_state)
            self._state, self._course = {}, None
        model = self._fresh(rows) if first else self.model_.float()
        rate = as_option("lr", "learning_rate", self.learning_rate)
        options = {"batch_size": len(rows), "lr": rate, "momentum": 0.0}
        self._go_on(model, self._data(rows), self._rule(), **options)
        return self

    def _fresh(self, rows: Tensor) -> RBM:
        """Return a machine before all training, with the base rates of rows, brought to between 0 and 1."""
        seed = draw_seed(self.random_state_)
        hidden = hidden_of("bernoulli", self.n_components)
        model = RBM(rows.shape[1], hidden, weight_scale=self.weight_scale, seed=seed)
        n, total = len(rows), rows.sum(0, dtype=torch.float64).clamp(0, len(rows))
        model.initialise(model.visible.smoothed(total, n).float())
        return model

    def _data(self, rows: Tensor) -> Dataset:
        """Return rows as the data set to learn from, which need to be means only where bits are drawn."""
        choose("binarisation", self.binarisation, ("none", "sampled"))
        unit = Bernoulli(rows.shape[1])
        if self.binarisation == "sampled":
            unit.validate(rows, means=True, name="X")
        return data_set(rows, unit, binarisation=self.binarisation)

    def _rule(self) -> Rule:
        chains = self.batch_size if self.chains is None else self.chains
        return make_rule(self.rule, steps=self.steps, chains=chains)

    # --- what it makes of rows ------------------------------------------------------------------

    @torch.no_grad()
    def gibbs(self, v: Any) -> NDArray[np.bool_]:
        """Take one Gibbs step from rows of shape (rows, columns): hidden states, then visible ones.

        Each call draws afresh.
        """
        rows, _ = self._further(v)
        stream, model = Stream(draw_seed(self.random_state_), "gibbs"), self.model_
        h = model.hidden.sample_(model.field("hidden", {"visible": rows.double()}), stream)
        drawn: Tensor = model.visible.sample_(model.field("visible", {"hidden": h}), stream)
        return drawn.numpy() == 1

    @torch.no_grad()
    def score_samples(self, X: Any) -> NDArray[np.float64]:
        """Return the pseudo-log-likelihoods of rows of 0 and 1, shape (rows), in nats.

        They are the mean of what scikit-learn draws, which flips one column of each row at random.
        """
        rows, _ = self._further(X)
        return torch.cat([self._pseudo(v.double()) for v in rows.split(_BLOCK)]).numpy()

    def _pseudo(self, v: Tensor) -> Tensor:
        field, total = self.model_.field("hidden", {"visible": v}), torch.zeros(len(v), dtype=v.dtype)
        here = softplus(field).sum(1)
        for column, weight in enumerate(self.model_.weight):
            change = 1 - 2 * v[:, column]
            there = softplus(torch.addr(field, change, weight)).sum(1)
            gain = self.model_.visible.bias[column] * change + there - here
            total += logsigmoid(-gain)
        return total

    def _encode(self, rows: Tensor) -> Tensor:
        hidden: Tensor = self.model_.hidden.expected_statistics(
            self.model_.field("hidden", {"visible": rows.double()})
        )
        return hidden

    def _check(self, rows: Tensor, unit: Unit) -> None:
        """Take any numbers, as scikit-learn does."""
