"""Features: the hidden means of a restricted Boltzmann machine, or of the top of a deep belief network."""

from __future__ import annotations

__all__ = ["DBNTransformer", "Encoder", "RBMTransformer"]

from collections.abc import Sequence
from typing import Any, Self

import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from torch import Tensor

from ..models import DBN, RBM
from ..training import fit, pretrain
from ._base import ROWS, Estimator, data_set, draw_seed, hidden_of, layers_of, make_rule


class Encoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Abstract transformer of rows into hidden means."""

    @torch.no_grad()
    def transform(self, X: Any) -> Any:
        """Return the hidden means given rows of shape (rows, columns), shape (rows, features)."""
        rows, dtype = self._further(X)
        means = torch.cat([self._encode(block) for block in rows.split(ROWS)])
        return means.numpy().astype(dtype, copy=False)

    @property
    def _n_features_out(self) -> int:
        top = self.model_.top if isinstance(self.model_, DBN) else self.model_
        width: int = top.hidden.width
        return width

    def _encode(self, rows: Tensor) -> Tensor:
        means: Tensor = self.model_.encode(rows)
        return means


class RBMTransformer(Encoder):
    """Creates a transformer of rows into the hidden means of a restricted Boltzmann machine.

    Arguments:
        n_components: The number of hidden units.
        visible: What the columns are: ``auto``, ``bernoulli``, ``gaussian``, ``spin``, or a layer of units.
        hidden: The type of the hidden units: ``bernoulli``, ``spin``, ``gaussian`` or ``relu``.
        rule: A learning rule, or its name in ``hm.RULES``.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some.
        learning_rate: By default 0.05, and 0.005 with Gaussian or ReLU units.
        batch_size: Rows in each update.
        n_iter: Passes over the rows.
        options: More options of ``hm.fit``, by name.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        device: Where to train.
    """

    def __init__(
        self,
        n_components: int = 256,
        *,
        visible: Any = "auto",
        hidden: str = "bernoulli",
        rule: Any = "pcd",
        steps: int = 1,
        chains: int = 100,
        learning_rate: float | None = None,
        batch_size: int = 100,
        n_iter: int = 20,
        options: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = None,
        device: Any = "cpu",
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.rule = rule
        self.steps = steps
        self.chains = chains
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
        self.random_state_ = check_random_state(self.random_state)
        model, data = self._fresh(unit), data_set(rows, unit, transform)
        options = {**self._usual(), "seed": draw_seed(self.random_state_)}
        history = self._run(fit, model, data, rule=self._rule(), **options)
        self._keep(model, history.state)
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Go on by one pass over rows of shape (rows, columns), at a constant rate.

        The first call, or :meth:`fit`, says what the units are and how rows are standardised.

        Raises:
            ValueError: The rows do not fit the units, or a parameter is out of range.
        """
        if not hasattr(self, "model_"):
            rows, unit, transform = self._understand(self._rows(X, reset=True))
            self.random_state_ = check_random_state(self.random_state)
            model = self._fresh(unit)
            self._state, self._course = {}, None
            model.transform = transform
        else:
            (rows, _), model = self._further(X), self.model_.float()
        options = {name: value for name, value in self._usual().items() if name != "epochs"}
        self._go_on(model, data_set(rows, model.visible, model.transform), self._rule(), **options)
        return self

    def _fresh(self, unit: Any) -> RBM:
        hidden = hidden_of(self.hidden, self.n_components)
        return RBM(unit, hidden, seed=draw_seed(self.random_state_))

    def _rule(self) -> Any:
        return make_rule(self.rule, steps=self.steps, chains=self.chains)


class DBNTransformer(Encoder):
    """Creates a transformer of rows into the means of the top layer of a deep belief network.

    The network is trained greedily, one restricted Boltzmann machine after the other.

    Arguments:
        hidden_layer_sizes: The numbers of hidden units, from the lowest layer up.
        visible: What the columns are: ``auto``, ``bernoulli``, ``gaussian``, ``spin``, or a layer of units.
        hidden: The type of the hidden units: ``bernoulli``, ``spin`` or ``relu``.
        rule: A learning rule, or its name in ``hm.RULES``.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some.
        learning_rate: By default 0.05, and 0.005 for a machine with Gaussian or ReLU units.
        batch_size: Rows in each update.
        n_iter: Passes over the rows, for each layer.
        options: More options of ``hm.pretrain``, by name.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        device: Where to train.
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256, 64),
        *,
        visible: Any = "auto",
        hidden: str = "bernoulli",
        rule: Any = "pcd",
        steps: int = 1,
        chains: int = 100,
        learning_rate: float | None = None,
        batch_size: int = 100,
        n_iter: int = 20,
        options: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = None,
        device: Any = "cpu",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.visible = visible
        self.hidden = hidden
        self.rule = rule
        self.steps = steps
        self.chains = chains
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
        layers = layers_of(self.hidden, self.hidden_layer_sizes)
        model = DBN([unit, *layers], seed=draw_seed(seeds))
        rule = make_rule(self.rule, steps=self.steps, chains=self.chains)
        options = {**self._usual(), "seed": draw_seed(seeds)}
        self._run(pretrain, model, data_set(rows, unit, transform), rule=rule, **options)
        self.model_ = model.double()
        return self
