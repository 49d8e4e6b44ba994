r"""Tables with gaps filled in, by a restricted Boltzmann machine over columns of any types.

Bits and categories are units of their own. A number becomes a normal score, and the numbers of a row
together are whitened, :math:`y = L (z - \mu)`, by the normal distribution that the rows with gaps are
likeliest under, so that without hidden units the model is that distribution, and hidden units tell of what
it misses. For learning, one chain for each row draws what it lacks, a step before each pass, as if it were
hidden (stochastic approximation of the likelihood of what is known). What fills a gap is an average of
conditional expectations over several chains.

References:
    | Inference and missing data (Rubin, 1976)
    | Restricted Boltzmann machines for collaborative filtering (Salakhutdinov, Mnih & Hinton, 2007)
    | On the convergence of Monte Carlo maximum likelihood for incomplete data (Gu & Kong, 1998)
"""

from __future__ import annotations

__all__ = ["RBMImputer"]

import math
import warnings
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data
from torch import Tensor

from ..datasets import Schema
from ..errors import DataError, choose, invalid, show
from ..models import RBM
from ..random import Stream
from ..samplers import GapChains, LinearMap
from ..training import GapLearner
from ..units import unit_from_config
from ._base import Estimator, draw_seed, make_rule, whole
from ._cells import (
    Cells,
    Field,
    Gap,
    as_field,
    as_numbers,
    gaps,
    is_frame,
    is_mapping,
    put_back,
    table_columns,
)
from ._normal import fit_normal

Floats = NDArray[np.float64]
MAPS = ("quantile", "standardise", "log-standardise")
STRATEGIES = ("mean", "median", "draw")
UNKNOWN = ("refuse", "gap")
_CHAINS = 5
_BURN_IN = 20
_KEPT = 40
_BLOCK = 1 << 22
_COUPLED = 128
_LARGEST = 1 << 28
_NODES = 7
_PASSES = 30
_UPDATES = 6000


class Filled(NamedTuple):
    """What rows may be, column by column of the model."""

    best: Floats
    """Means of numbers as they are in the table, and the likeliest codes, shape (rows, columns)."""
    certainty: Floats
    """The probability of each code, likewise; NaN of numbers."""
    numbers: Floats
    """Draws of the numbers' scores in increasing order, shape (draws, rows, numbers)."""


class RBMImputer(TransformerMixin, Estimator):
    """Creates an imputer: a machine that learns from rows with gaps and fills them in.

    Takes arrays, frames of pandas or polars, and mappings of lists; what it returns has the same type, the
    same columns and cells, but for the gaps: NaN, None, and texts such as ``?``. Columns of 0 and 1 are bits,
    of text categories, of other numbers real, as :class:`harmonium.datasets.Schema` infers. Columns that
    never vary are filled with their value; those without any are left out, as scikit-learn's imputers do, and
    rows without any are filled with what is likely of all rows. That values are missing at random is for the
    user to know.

    Arguments:
        n_components: The number of hidden units; by default as many as statistics of a row, from 32 to 200.
        kinds: Kinds of columns by their name, or in an array by their number: ``bernoulli``, ``categorical``
            or ``gaussian``.
        numbers: How numbers are mapped: ``quantile``, ``standardise`` or ``log-standardise``; by ``auto`` it
            is ``quantile`` if at least half of the columns have a skewness beyond 1, else ``standardise``.
        strategy: What fills a number: its ``mean``, its ``median``, or a ``draw``. Of categories it is the
            likeliest, or likewise a draw.
        unknown: ``refuse`` categories that were not there in the fit, or take each as a ``gap``, which
            tells nothing of the rest of its row, and stays what it is.
        keep_empty_features: Whether columns without a value are filled with 0 rather than left out.
        shrinkage: By how many rows without correlations the covariance of numbers is shrunk.
        rule: A learning rule, or its name in ``hm.RULES``.
        steps: Gibbs steps in each update, of rules that take some.
        chains: Persistent chains, of rules that have some.
        learning_rate: Of Adam.
        weight_decay: L2 penalty on the weights.
        batch_size: Rows in each update.
        n_iter: Passes over the rows at most; by default as many as make 6,000 updates, at least 30. Of ten
            models on the way, and the one without hidden units, that one is kept which tells most of known
            cells that were held out.
        options: More options of ``hm.fit``, by name.
        verbose: Whether to print a line after each pass.
        random_state: An integer, a ``RandomState`` or None: seeds everything.
        device: Where to train; gaps are filled on the CPU.
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        kinds: Mapping[Any, str] | None = None,
        numbers: str = "auto",
        strategy: str = "mean",
        unknown: str = "refuse",
        keep_empty_features: bool = False,
        shrinkage: float = 10.0,
        rule: Any = "pcd",
        steps: int = 1,
        chains: int = 100,
        learning_rate: float = 0.01,
        weight_decay: float = 0.001,
        batch_size: int = 100,
        n_iter: int | None = None,
        options: dict[str, Any] | None = None,
        verbose: int = 0,
        random_state: Any = None,
        device: Any = "cpu",
    ) -> None:
        self.n_components = n_components
        self.kinds = kinds
        self.numbers = numbers
        self.strategy = strategy
        self.unknown = unknown
        self.keep_empty_features = keep_empty_features
        self.shrinkage = shrinkage
        self.rule = rule
        self.steps = steps
        self.chains = chains
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.options = options
        self.verbose = verbose
        self.random_state = random_state
        self.device = device

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    # --- learning -------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from rows of shape (rows, columns) with gaps; ``y`` is not looked at.

        Raises:
            ValueError: A column cannot be treated as its kind, or a parameter is out of range.
        """
        choose("strategy", self.strategy, STRATEGIES)
        choose("unknown", self.unknown, UNKNOWN)
        self._device()
        if not (isinstance(self.shrinkage, int | float | np.number) and 0 <= self.shrinkage < math.inf):
            raise invalid("shrinkage", self.shrinkage, "a number of at least 0")
        X, columns = self._columns(X, reset=True)
        names = self._names()
        kinds = dict(self.kinds or {})
        for name in kinds:
            if name not in names:
                raise invalid("kinds", name, f"a column among {show(names)}")
        numbers = _usual_map(columns) if self.numbers == "auto" else self.numbers
        choose("numbers", numbers, MAPS)
        fields = [
            as_field(str(name), cells, kinds.get(name), numbers)
            for name, cells in zip(names, columns, strict=True)
        ]
        self._fields: list[Field | Gap] = fields
        empty = [i for i, own in enumerate(fields) if isinstance(own, Gap) and own.value is None]
        if empty and not self.keep_empty_features:
            got = show([names[i] for i in empty])
            warnings.warn(f"X: columns without a value are left out: {got}", stacklevel=2)
        self.kept_ = np.array([i for i in range(len(fields)) if self.keep_empty_features or i not in empty])
        seeds = check_random_state(self.random_state)
        self._seed = draw_seed(seeds)
        self._place()
        self.model_ = None
        if self._order:
            self._learn(self._encode(columns), draw_seed(seeds))
        return self

    def _place(self) -> None:
        """Put the columns that vary in the order of the model's layer."""
        own = {f"{i}": (i, f) for i, f in enumerate(self._fields) if isinstance(f, Field)}
        self._order: list[int] = []
        self._reals = 0
        if not own:
            self.schema_ = None
            return
        schema = Schema(tuple(f.column for _, f in own.values()))
        self.schema_ = schema
        place = {f.column.name: i for i, f in own.values()}
        self._order = [place[column.name] for column in schema.blocks]
        self._reals = sum(column.kind == "gaussian" for column in schema.blocks)

    def _learn(self, rows: Tensor, seed: int) -> None:
        """Train a machine by rows of scores and codes, NaN where a value is missing."""
        assert self.schema_ is not None
        layer = self.schema_.layer
        for part in layer["parts"]:
            if part["kind"] == "gaussian":
                part["learn_precision"] = True
        visible = unit_from_config(layer if len(layer["parts"]) > 1 else layer["parts"][0])
        usual = min(max(visible.width, 32), 200)
        model = RBM(visible, whole(usual if self.n_components is None else self.n_components), seed=seed)
        self._linear = _whitening(rows[:, rows.shape[1] - self._reals :], float(self.shrinkage))
        size = _at_least_one("batch_size", self.batch_size)
        usual = max(_PASSES, round(_UPDATES * size / len(rows)))
        epochs = usual if self.n_iter is None else _at_least_one("n_iter", self.n_iter)
        rule = make_rule(self.rule, steps=self.steps, chains=self.chains)
        options = {"optimizer": "Adam", "batch_size": size, "weight_decay": self.weight_decay}
        model.to(self._device())
        learner = GapLearner(model, rows, self._linear, rule, {**options, **(self.options or {})}, seed)
        with self._silent():
            self.held_out_ = learner.learn(epochs, float(self.learning_rate), self._tell)
        self.model_ = model.cpu().double().eval()

    def _tell(self, epoch: int, score: float) -> None:
        if self._verbose():
            print(f"[{type(self).__name__}] Iteration {epoch}, {score:.4g} nats per cell held out")

    # --- filling --------------------------------------------------------------------------------

    def transform(self, X: Any) -> Any:
        """Return rows with their gaps filled, of the type in which they came.

        What a row becomes depends on nothing but the row.

        Raises:
            NotFittedError: There was no fit.
            ValueError: The rows are not like those of the fit.
        """
        if self.strategy == "draw":
            return self.draws(X, 1)[0]
        X, columns, rows = self._given(X)
        found = self._fill(rows)
        best = found.best
        if self.strategy == "median" and self._reals:
            middle = np.median(found.numbers, 0)
            best = best.copy()
            for k, field in self._real_fields():
                best[:, k] = field.column.backward(middle[:, k - len(self._order) + self._reals])
        return self._put_back(X, columns, best)

    def draws(self, X: Any, n: int = 10, *, random_state: Any = None) -> list[Any]:
        """Return rows with their gaps filled by draws, n times: multiple imputation.

        Arguments:
            X: Rows of shape (rows, columns).
            n: How many; each is of chains of its own.
            random_state: Seeds the draws; by default the fit's seed does.

        Raises:
            NotFittedError: There was no fit.
            ValueError: The rows are not like those of the fit, or ``n`` is out of range.
        """
        n = _at_least_one("n", n)
        X, columns, rows = self._given(X)
        seed = self._seed if random_state is None else draw_seed(random_state)
        tables: list[Any] = []
        per_draw = max(1, rows.numel(), 0 if self.model_ is None else len(rows) * self.model_.visible.width)
        while len(tables) < n:
            group = min(n - len(tables), max(1, _BLOCK // per_draw))
            values = rows.expand(group, -1, -1)
            if self.model_ is not None:
                stream = Stream(seed, f"draws/{len(tables)}")
                values = self._run_chains(rows, group, stream, torch.arange(len(rows))).rows()
            tables += [self._put_back(X, columns, self._as_cells(own.numpy().copy())) for own in values]
        return tables

    def _as_cells(self, values: Floats) -> Floats:
        """Return drawn scores as numbers of the table, whole ones where the fit had no others."""
        for k, field in self._real_fields():
            values[:, k] = field.column.backward(values[:, k])
            if field.column.integral:
                values[:, k] = values[:, k].round()
        return values

    def intervals(self, X: Any, level: float = 0.9) -> tuple[Floats, Floats]:
        """Return the ends of intervals that hold a missing number with a probability.

        Arguments:
            X: Rows of shape (rows, columns).
            level: The probability, from 0 to 1.

        Returns:
            Two arrays of shape (rows, columns): the number itself at both ends where it is known, NaN where
            the column is none of numbers.

        Raises:
            NotFittedError: There was no fit.
            ValueError: The rows are not like those of the fit, or ``level`` is out of range.
        """
        if not (isinstance(level, int | float | np.number) and 0 < level < 1):
            raise invalid("level", level, "a number between 0 and 1")
        _, columns, rows = self._given(X)
        ends = [np.full((len(rows), len(columns)), np.nan) for _ in range(2)]
        numbers = self._fill(rows).numbers
        for k, field in self._real_fields():
            i, own = self._order[k], numbers[..., k - len(self._order) + self._reals]
            known = field.numbers(columns[i])
            for end, share in zip(ends, ((1 - level) / 2, (1 + level) / 2), strict=True):
                at = field.column.backward(np.quantile(own, share, axis=0, method="weibull"))
                end[:, i] = np.where(np.isnan(known), at, known)
        for i, gap in enumerate(self._fields):
            cells = columns[i]
            if isinstance(gap, Gap) and isinstance(cells, np.ndarray):
                ends[0][:, i] = ends[1][:, i] = np.where(np.isnan(cells), gap.value or 0, cells)
        return ends[0][:, self.kept_], ends[1][:, self.kept_]

    def certainty(self, X: Any) -> Floats:
        """Return how probable it is that what fills a gap is right, shape (rows, columns).

        It is 1 of cells that are known, and NaN of numbers that are not.

        Raises:
            NotFittedError: There was no fit.
            ValueError: The rows are not like those of the fit.
        """
        _, columns, rows = self._given(X)
        out = np.ones((len(rows), len(columns)))
        sure = self._fill(rows).certainty
        for k, i in enumerate(self._order):
            out[:, i] = np.where(gaps(columns[i]), sure[:, k], 1.0)
        return out[:, self.kept_]

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """Return the names of the columns that are not left out."""
        check_is_fitted(self)
        return _check_feature_names_in(self, input_features)[self.kept_]

    @torch.no_grad()
    def _fill(self, rows: Tensor) -> Filled:
        """Return what rows of scores and codes may be."""
        n, width = rows.shape
        values = rows.numpy().copy()
        for k, field in self._real_fields():
            values[:, k] = field.column.backward(values[:, k])
        found = Filled(values, np.full((n, width), np.nan), np.empty((_CHAINS * _KEPT, n, self._reals)))
        found.numbers[:] = rows[:, width - self._reals :].numpy()
        if self.model_ is None:
            return found
        gone = rows.isnan().any(1).nonzero()[:, 0]
        per_row = max(self._reals**2, _CHAINS * _KEPT * self._reals, _CHAINS * self.model_.visible.width)
        for index in gone.split(max(1, _BLOCK // per_row)):
            self._fill_block(rows, index, found)
        return found

    def _fill_block(self, rows: Tensor, index: Tensor, found: Filled) -> None:
        """Fill in some of the rows."""
        own, place = rows[index], index.numpy()
        chains = self._run_chains(own, _CHAINS, Stream(self._seed, "fill"), _addresses(own))
        total = torch.zeros_like(chains.probabilities[0])
        means = np.zeros((len(own), self._reals))
        drawn = []
        for _ in range(_KEPT):
            chains.step()
            total += chains.probabilities.mean(0)
            if self._reals:
                means += self._expected(chains) / _KEPT
                drawn.append(chains.numbers.numpy().copy())
        codes, sure = self._codes((total / _KEPT).numpy())
        first = len(self._order) - self._reals
        gone = own.isnan().numpy()
        found.best[place] = np.where(gone, np.concatenate((codes, means), 1), found.best[place])
        found.certainty[place[:, None], np.arange(first)] = sure
        if self._reals:
            found.numbers[:, place] = np.sort(np.concatenate(drawn), 0)

    def _run_chains(self, rows: Tensor, chains: int, stream: Stream, address: Tensor) -> GapChains:
        model, linear = self.model_, self._linear
        own = GapChains(model, rows, linear, stream, chains=chains, address=address)
        for _ in range(_BURN_IN):
            own.step()
        return own

    def _expected(self, chains: GapChains) -> Floats:
        """Return expected numbers as they are in the table, averaged over chains, shape (rows, numbers)."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        spread, means = chains.deviations.numpy(), chains.means.numpy()
        out = np.zeros(means.shape[1:])
        for k, field in self._real_fields():
            j = k - len(self._order) + self._reals
            for node, weight in zip(nodes, weights / weights.sum(), strict=True):
                scores = means[..., j] + node * spread[:, j]
                out[:, j] += weight * field.column.backward(scores).mean(0)
        return out

    def _codes(self, probabilities: Floats) -> tuple[Floats, Floats]:
        """Return the likeliest codes of bits and categories, and how probable they are, (rows, columns)."""
        assert self.schema_ is not None
        codes, sure, first = [], [], 0
        for column in self.schema_.blocks[: len(self._order) - self._reals]:
            width = 1 if column.kind == "bernoulli" else len(column.levels)
            own = probabilities[:, first : first + width]
            own = np.concatenate((1 - own, own), 1) if width == 1 else own
            codes.append(own.argmax(1))
            sure.append(own.max(1))
            first += width
        shape = (len(probabilities), 0)
        return np.stack(codes, 1) if codes else np.empty(shape), np.stack(sure, 1) if sure else np.empty(
            shape
        )

    # --- tables ---------------------------------------------------------------------------------

    def _columns(self, X: Any, *, reset: bool) -> tuple[Any, list[Cells]]:
        """Return a checked table, and its columns."""
        if is_mapping(X):
            lengths = {len(cells) for cells in X.values()}
            if len(lengths) != 1 or 0 in lengths:
                raise DataError(f"X: got columns of lengths {sorted(lengths)}, expected one for all, above 0")
            if reset:
                self.feature_names_in_, self.n_features_in_ = np.array(list(X), dtype=object), len(X)
            else:
                _match(list(X), list(getattr(self, "feature_names_in_", ())))
        elif is_frame(X):
            if not len(X):
                raise DataError("X: got 0 rows, expected at least one")
            if len({*X.columns}) < len(X.columns):
                raise DataError(f"X: got columns {show([*X.columns])}, expected each of another name")
            validate_data(self, X, reset=reset, skip_check_array=True)
        else:
            X = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
        return X, table_columns(X)

    def _names(self) -> list[Any]:
        found = getattr(self, "feature_names_in_", None)
        return list(range(self.n_features_in_)) if found is None else list(found)

    def _given(self, X: Any) -> tuple[Any, list[Cells], Tensor]:
        """Return a table like that of the fit, its columns, and rows of scores and codes."""
        check_is_fitted(self)
        X, columns = self._columns(X, reset=False)
        return X, columns, self._encode(columns)

    def _encode(self, columns: list[Cells]) -> Tensor:
        values = []
        for i in self._order:
            field = self._fields[i]
            assert isinstance(field, Field)
            values.append(field.encode(columns[i], self.unknown))
        rows = np.stack(values, 1) if values else np.empty((len(columns[0]), 0))
        return torch.from_numpy(rows)

    def _real_fields(self) -> Iterator[tuple[int, Field]]:
        """Yield the places of numbers in a row of the model, and their fields."""
        for k in range(len(self._order) - self._reals, len(self._order)):
            field = self._fields[self._order[k]]
            assert isinstance(field, Field)
            yield k, field

    def _put_back(self, X: Any, columns: list[Cells], values: Floats) -> Any:
        """Return a table with its gaps filled by values: numbers of the table, and codes."""
        filled = {}
        for i, cells in enumerate(columns):
            gone = gaps(cells)
            field = self._fields[i]
            if not gone.any() or i not in self.kept_:
                continue
            if isinstance(field, Gap):
                new = [0 if field.value is None else field.value] * int(gone.sum())
            else:
                own = values[gone, self._order.index(i)]
                new = field.decode(own)
            filled[i] = (gone, new)
        return put_back(X, filled, self.kept_.tolist())


def _usual_map(columns: list[Cells]) -> str:
    """Return how the numbers of a table are mapped, by whether most of their distributions are skewed."""
    skewed = []
    for cells in columns:
        x = as_numbers(cells)
        x = x[np.isfinite(x)]
        if len(np.unique(x)) > 2:
            off = (x - x.mean()) / x.std()
            skewed.append(abs(float((off**3).mean())) > 1)
    return "quantile" if skewed and np.mean(skewed) >= 0.5 else "standardise"


def _match(names: list[Any], expected: list[Any]) -> None:
    """Refuse columns that are not those of the fit, in its order."""
    lacking = [name for name in expected if name not in names]
    extra = [name for name in names if name not in expected]
    got = [f"no column {show(lacking)[1:-1]}"] if lacking else []
    got += [f"unknown columns {show(extra)[1:-1]}"] if extra else []
    if names != expected:
        told = " and ".join(got) or f"columns in the order {show(names)}"
        raise DataError(f"X: got {told}, expected the columns of the fit, {show(expected)}")


def _at_least_one(name: str, value: Any) -> int:
    """Return an integer of at least 1."""
    value = whole(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise invalid(name, value, "an integer of at least 1")
    return value


def _whitening(scores: Tensor, shrinkage: float) -> LinearMap | None:
    """Return the map that whitens scores with gaps, or their own scales where there are too many."""
    n, columns = scores.shape
    if not columns:
        return None
    if columns > _COUPLED or n * columns**2 > _LARGEST:
        mean, spread = scores.nanmean(0), torch.from_numpy(np.nanstd(scores.numpy(), 0))
        return LinearMap(mean, torch.diag(1 / spread), torch.diag(spread))
    mean, covariance = fit_normal(scores, shrinkage)
    values, vectors = torch.linalg.eigh(covariance)
    root = values.sqrt()
    return LinearMap(mean, (vectors / root) @ vectors.T, (vectors * root) @ vectors.T)


def _addresses(rows: Tensor) -> Tensor:
    """Return a number for each row that follows from what it holds, shape (rows)."""
    plain = torch.where(rows.isnan(), torch.nan, rows).numpy()
    hashes = [blake2b(row.tobytes(), digest_size=4).digest() for row in plain]
    return torch.tensor([int.from_bytes(value, "big") for value in hashes])
