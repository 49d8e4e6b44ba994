r"""Classifiers: a restricted Boltzmann machine with a label among its units, and fine-tuned deep networks.

A machine of rows and labels has :math:`p(y \mid v)` in closed form, as classes are few and hidden units sum
out; the deep networks are trained without labels first, and then by back-propagation.

References:
    | Learning algorithms for the classification restricted Boltzmann machine
    | (Larochelle, Mandel, Pascanu & Bengio, 2012)
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009)
"""

from __future__ import annotations

__all__ = ["DBMClassifier", "DBNClassifier", "RBMClassifier"]

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data
from torch import Tensor

from ..errors import DataError, invalid
from ..learning import Rule
from ..models import DBM, DBN, MLP, RBM, predict_proba
from ..training import finetune, fit, pretrain
from ..units import Categorical, Mixed, Unit
from ._base import (
    HOW,
    Estimator,
    as_option,
    as_tensor,
    data_set,
    draw_seed,
    hidden_of,
    layers_of,
    make_rule,
)


class Classifier(ClassifierMixin, Estimator):
    """Abstract classifier by the probabilities of classes."""

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probabilities of the classes of rows of shape (rows, columns), shape (rows, classes)."""
        rows, _ = self._further(X)
        return predict_proba(self.model_, rows).numpy()

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the logarithms of :meth:`predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, shape (rows)."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def _labelled(self, X: Any, y: Any) -> tuple[Tensor, NDArray[np.int64]]:
        """Return the rows of a fit, and the codes of their labels.

        Raises:
            ValueError: Rows and labels do not fit each other, or there is one class.
        """
        X, y = validate_data(self, X, y, **HOW)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._check_classes()
        return as_tensor(X), codes.astype(np.int64)

    def _check_classes(self) -> None:
        if len(self.classes_) < 2:
            raise DataError(f"y: got one class, {self.classes_.tolist()}, expected at least two")


class RBMClassifier(Classifier):
    """Creates a classifier by a restricted Boltzmann machine of rows and labels; its probabilities are exact.

    Arguments:
        n_components: The number of hidden units.
        visible: What the columns are: ``auto``, ``bernoulli``, ``gaussian``, ``spin``, or a layer of units.
        hidden: The type of the hidden units: ``bernoulli``, ``spin``, ``gaussian`` or ``relu``.
        rule: ``hybrid``, ``discriminative``, or another learning rule or its name in ``hm.RULES``.
        alpha: The weight of the generative part of the hybrid loss.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some.
        learning_rate: Of Adam, unless ``options`` name another optimiser.
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
        rule: Any = "hybrid",
        alpha: float = 0.01,
        steps: int = 1,
        chains: int = 100,
        learning_rate: float = 0.01,
        batch_size: int = 50,
        n_iter: int = 30,
        options: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = None,
        device: Any = "cpu",
    ) -> None:
        self.n_components = n_components
        self.visible = visible
        self.hidden = hidden
        self.rule = rule
        self.alpha = alpha
        self.steps = steps
        self.chains = chains
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.options = options
        self.verbose = verbose
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from rows of shape (rows, columns) and labels of shape (rows).

        Raises:
            ValueError: The rows do not fit the units, or a parameter is out of range.
        """
        raw, codes = self._labelled(X, y)
        rows, unit, transform = self._understand(raw)
        self.random_state_ = check_random_state(self.random_state)
        model = self._fresh(unit)
        data = data_set(rows, unit, transform, codes, len(self.classes_))
        options = {"optimizer": "Adam", **self._usual(), "seed": draw_seed(self.random_state_)}
        history = self._run(fit, model, data, rule=self._rule(), **options)
        self._keep(model, history.state)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Go on by one pass over rows of shape (rows, columns) and labels of shape (rows), at a constant
        rate.

        Arguments:
            X: The rows.
            y: Their labels.
            classes: All classes that there will be; needed in the first call.

        Raises:
            ValueError: The rows do not fit the units, there are other classes, or a parameter is out of
                range.
        """
        first = not hasattr(self, "model_")
        values, y = validate_data(self, X, y, reset=first, **HOW)
        check_classification_targets(y)
        if first:
            if classes is None:
                raise DataError("classes: missing, expected all classes in the first call")
            self.classes_ = np.unique(column_or_1d(classes))
            self._check_classes()
            rows, unit, transform = self._understand(as_tensor(values))
            self.random_state_ = check_random_state(self.random_state)
            model = self._fresh(unit)
            self._state, self._course = {}, None
            model.transform = transform
        else:
            (rows, _), model = self._further(X), self.model_.float()
            unit = self._units()
        codes = self._codes(y)
        options = {name: value for name, value in self._usual().items() if name != "epochs"}
        data = data_set(rows, unit, model.transform, codes, len(self.classes_))
        self._go_on(model, data, self._rule(), **{"optimizer": "Adam", **options})
        return self

    def _codes(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Return the codes of labels.

        Raises:
            DataError: One is of another class.
        """
        new = np.setdiff1d(y, self.classes_)
        if len(new):
            raise DataError(f"y: got {new.tolist()}, expected the classes {self.classes_.tolist()}")
        return np.searchsorted(self.classes_, y).astype(np.int64)

    def _fresh(self, unit: Unit) -> RBM:
        hidden = hidden_of(self.hidden, self.n_components)
        return RBM(with_label(unit, len(self.classes_)), hidden, seed=draw_seed(self.random_state_))

    def _rule(self) -> Rule:
        return make_rule(self.rule, alpha=self.alpha, steps=self.steps, chains=self.chains)

    def _units(self) -> Unit:
        return without_label(self.model_.visible)


class DeepClassifier(Classifier):
    """Abstract classifier by a deep network that is trained without labels first, and then fine-tuned."""

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256, 128),
        *,
        visible: Any = "auto",
        hidden: str = "bernoulli",
        rule: Any = "pcd",
        steps: int = 1,
        chains: int = 100,
        learning_rate: float | None = None,
        batch_size: int = 50,
        n_iter: int = 20,
        finetune_rate: float = 0.003,
        finetune_iter: int = 30,
        dropout: float = 0.0,
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
        self.finetune_rate = finetune_rate
        self.finetune_iter = finetune_iter
        self.dropout = dropout
        self.options = options
        self.verbose = verbose
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from rows of shape (rows, columns) and labels of shape (rows).

        Raises:
            ValueError: The rows do not fit the units, or a parameter is out of range.
        """
        raw, codes = self._labelled(X, y)
        rows, unit, transform = self._understand(raw)
        epochs = as_option("epochs", "finetune_iter", self.finetune_iter)
        rate = as_option("lr", "finetune_rate", self.finetune_rate)
        seeds = check_random_state(self.random_state)
        layers = [unit, *layers_of(self.hidden, self.hidden_layer_sizes)]
        network = self._network(layers, draw_seed(seeds))
        options = {**self._usual(), "seed": draw_seed(seeds)}
        rules = self._rules(len(network.stack()) + network.joint)
        self._run(pretrain, network, data_set(rows, unit, transform), rule=rules, **options)
        classes = len(self.classes_)
        model = network.to_mlp(classes, dropout=self.dropout, seed=draw_seed(seeds))
        data = data_set(rows, unit, transform, codes, classes)
        fine = {**self._usual(), "epochs": epochs, "lr": rate}
        fine |= {"optimizer": "Adam", "seed": draw_seed(seeds)}
        self._run(finetune, model, data, **fine)
        self.pretrained_, self.model_ = network, model.double()
        return self

    def _network(self, layers: list[Unit], seed: int) -> DBN | DBM:
        """Return the network before all training."""
        raise NotImplementedError

    def _rules(self, stages: int) -> list[Rule]:
        """Return the rule of each stage of the pretraining; the last one may be the whole machine."""
        several = isinstance(self.rule, list | tuple)
        given = list(self.rule) if several else [self.rule] * len(self.hidden_layer_sizes)
        usual = [*given, "variational-pcd"] if len(given) == stages - 1 else given
        return [make_rule(rule, steps=self.steps, chains=self.chains) for rule in usual]

    def _units(self) -> Unit:
        assert isinstance(self.model_, MLP)
        return self.model_.inputs


class DBNClassifier(DeepClassifier):
    """Creates a classifier by a deep belief network that is pretrained greedily, and fine-tuned.

    The network is ``pretrained_``, the classifier that it becomes ``model_``.

    Arguments:
        hidden_layer_sizes: The numbers of hidden units, from the lowest layer up.
        visible: What the columns are: ``auto``, ``bernoulli``, ``gaussian``, ``spin``, or a layer of units.
        hidden: The type of the hidden units: ``bernoulli``, ``spin`` or ``relu``.
        rule: The rule of the pretraining, or its name in ``hm.RULES``; or a list with one for each layer.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some.
        learning_rate: Of the pretraining; by default 0.05, and 0.005 with Gaussian or ReLU units.
        batch_size: Rows in each update.
        n_iter: Passes over the rows, for each layer of the pretraining.
        finetune_rate: The learning rate of the fine-tuning, by Adam.
        finetune_iter: Its passes over the rows.
        dropout: The probability that a hidden unit is left out of one of its updates.
        options: More options of ``hm.pretrain`` and ``hm.finetune``, by name.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        device: Where to train.
    """

    def _network(self, layers: list[Unit], seed: int) -> DBN:
        return DBN(layers, seed=seed)


class DBMClassifier(DeepClassifier):
    """Creates a classifier by a deep Boltzmann machine that is pretrained as a stack and as a whole, and
    fine-tuned.

    The machine is ``pretrained_``, the classifier that it becomes ``model_``.

    Arguments:
        hidden_layer_sizes: The numbers of hidden units, from the lowest layer up; at least two.
        visible: What the columns are: ``auto``, ``bernoulli``, ``gaussian``, ``spin``, or a layer of units.
        hidden: The type of the hidden units: ``bernoulli`` or ``spin``.
        rule: The rule of the stack, or its name in ``hm.RULES``; or a list with one for each layer, and one
            more for the whole machine if that is not to be ``variational-pcd``.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some.
        learning_rate: Of the pretraining; by default 0.05, and 0.005 with Gaussian units.
        batch_size: Rows in each update.
        n_iter: Passes over the rows, for each stage of the pretraining.
        finetune_rate: The learning rate of the fine-tuning, by Adam.
        finetune_iter: Its passes over the rows.
        dropout: The probability that a hidden unit is left out of one of its updates.
        options: More options of ``hm.pretrain`` and ``hm.finetune``, by name.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        device: Where to train.
    """

    def _network(self, layers: list[Unit], seed: int) -> DBM:
        if len(layers) < 3:
            raise invalid("hidden_layer_sizes", self.hidden_layer_sizes, "at least two hidden layers")
        return DBM(layers, seed=seed)


def with_label(unit: Unit, classes: int) -> Mixed:
    """Return a layer with a label as its last part."""
    parts = list(unit.parts) if isinstance(unit, Mixed) else [unit]
    mixed = Mixed(*parts, Categorical(1, classes))
    mixed.bias.data[: unit.width] = unit.bias.detach()
    return mixed


def without_label(unit: Unit) -> Unit:
    """Return the units of a layer beside its label, which is the last part."""
    assert isinstance(unit, Mixed)
    parts = list(unit.parts)[:-1]
    return parts[0] if len(parts) == 1 else Mixed(*parts)
