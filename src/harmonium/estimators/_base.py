"""What the estimators share: rows in, seeds, rules, and runs that leave a model behind."""

from __future__ import annotations

__all__ = [
    "HOW",
    "ROWS",
    "Estimator",
    "as_option",
    "as_tensor",
    "data_set",
    "draw_seed",
    "drawn",
    "hidden_of",
    "layers_of",
    "make_rule",
    "units_of",
    "whole",
]

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from ..datasets import Dataset, Transform
from ..errors import ArgumentError, ArgumentTypeError, DataError, choose, invalid, show
from ..learning import RULES, Rule
from ..models import Model, State
from ..random import Stream
from ..samplers import sample
from ..training import Course, History, Options, advance
from ..units import UNITS, Bernoulli, Gaussian, Spin, Unit, as_rows

_LOGGER = logging.getLogger("harmonium")
ROWS = 4096
_PROBE = 2
_KNOWN: dict[str, Callable[[int], Unit]] = {
    "bernoulli": Bernoulli,
    "gaussian": lambda size: Gaussian(size, learn_precision=True),
    "spin": Spin,
}
HOW: dict[str, Any] = {"accept_sparse": "csr", "dtype": "numeric"}
"""How scikit-learn checks rows: their type is kept."""
_PLAIN = (np.float32, np.float64, np.uint8)


class Estimator(BaseEstimator):
    """Abstract estimator around a model, ``model_``, that is trained by a function of the library."""

    model_: Any
    _state: State
    _course: Course | None
    _grey = True
    """Whether ``visible="auto"`` takes values between 0 and 1 for means of binary units."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    # --- rows -----------------------------------------------------------------------------------

    def _rows(self, X: Any, *, reset: bool) -> Tensor:
        """Return rows as they came, checked and dense; a reset takes them as the first ones."""
        return as_tensor(validate_data(self, X, reset=reset, **HOW))

    def _understand(self, rows: Tensor) -> tuple[Tensor, Unit, Transform | None]:
        """Return the rows of a fit as the model is to see them, their units, and what standardised them."""
        unit = units_of(self.visible, rows, grey=self._grey)
        if isinstance(self.visible, Unit) or unit.kind != "gaussian":
            self._check(rows, unit)
            return rows, unit, None
        transform = _standardiser(rows)
        return transform.apply(rows), unit, transform

    def _further(self, X: Any) -> tuple[Tensor, Any]:
        """Return rows for a fitted model, ready for it, and the type of what is made of them.

        Raises:
            NotFittedError: There was no fit.
            ValueError: The rows are not like those of the fit.
        """
        check_is_fitted(self)
        values = validate_data(self, X, reset=False, **HOW)
        rows = as_tensor(values)
        self._check(rows, self._units())
        transform = self.model_.transform
        dtype = np.float32 if values.dtype == np.float32 else np.float64
        return rows if transform is None else transform.apply(rows), dtype

    def _check(self, rows: Tensor, unit: Unit) -> None:
        """Check that units can take rows."""
        unit.validate(rows, means=self._grey, name="X")

    def _units(self) -> Unit:
        """Return the units of a row, its label apart."""
        unit: Unit = self.model_.visible
        return unit

    # --- runs -----------------------------------------------------------------------------------

    def _run(self, train: Callable[..., History], model: Model, data: Any, **options: Any) -> History:
        """Train a model on the estimator's device, and bring it back.

        Raises:
            KeyboardInterrupt: Training was interrupted.
        """
        options |= {"probe": 1000 if self._verbose() else _PROBE, "callback": self._teller()}
        model.to(self._device())
        with self._silent():
            history = train(model, data, **{**options, **(getattr(self, "options", None) or {})})
        model.cpu().eval()
        if history.stopped == "interrupted":
            raise KeyboardInterrupt
        return history

    def _go_on(self, model: Model, data: Any, rule: Rule, **options: Any) -> None:
        """Train a model by one pass over rows, from where the last one has left off."""
        if self._course is None:
            self._course = Course(Stream(draw_seed(self.random_state_), "online"), self._state)
        more = getattr(self, "options", None) or {}
        advance(model.to(self._device()), data, rule, self._course, **{**options, **more})
        self._keep(model, self._course.state, self._course)

    def _keep(self, model: Model, state: State, course: Course | None = None) -> None:
        """Keep what was trained, on the CPU; and what there is of a rule to go on."""
        self.model_ = model.cpu().double().eval()
        self._state, self._course = {name: value.cpu() for name, value in state.items()}, course

    def _usual(self) -> dict[str, Any]:
        """Return the options of a fit that are parameters of every estimator."""
        names = {"epochs": "n_iter", "batch_size": "batch_size", "lr": "learning_rate"}
        return {option: as_option(option, name, getattr(self, name)) for option, name in names.items()}

    def _device(self) -> torch.device:
        try:
            return torch.device(self.device)
        except (RuntimeError, TypeError) as error:
            raise invalid("device", self.device, "a device such as 'cpu' or 'cuda'") from error

    @contextmanager
    def _silent(self) -> Iterator[None]:
        """Keep what a run would say to itself, unless the estimator is verbose."""
        if self._verbose():
            yield
            return
        hush = _Hush()
        _LOGGER.addFilter(hush)
        try:
            yield
        finally:
            _LOGGER.removeFilter(hush)

    def _verbose(self) -> bool:
        return bool(getattr(self, "verbose", 0))

    def _teller(self) -> Callable[[dict[str, Any]], None] | None:
        """Return what prints a line after each epoch, if there is to be one."""
        if not self._verbose():
            return None
        name = type(self).__name__

        def tell(record: dict[str, Any]) -> None:
            keys = (key for key in record if key.startswith("train/"))
            scores = ", ".join(f"{key.removeprefix('train/')} = {record[key]:.4g}" for key in keys)
            layer = f" layer {record['layer']}," if "layer" in record else ""
            seconds = record["epoch_seconds"]
            print(f"[{name}]{layer} Iteration {record['epoch']}, {scores}, time = {seconds:.2f}s")

        return tell


class _Hush(logging.Filter):
    """Drops all that is logged."""

    def filter(self, record: logging.LogRecord) -> bool:
        return False


def as_tensor(values: Any) -> Tensor:
    """Return checked rows as a dense tensor; sparse ones of 0 and 1 take a byte for each value."""
    if issparse(values):
        bits = bool(((values.data == 0) | (values.data == 1)).all())
        values = (values.astype(np.uint8) if bits else values).toarray()
    if values.dtype == bool:
        values = values.view(np.uint8)
    if values.dtype not in _PLAIN:
        values = values.astype(np.float64)
    return as_rows("X", values)


def are_bits(rows: Tensor) -> bool:
    """Return whether all values are 0 or 1."""
    return all(bool(((block == 0) | (block == 1)).all()) for block in rows.split(ROWS))


def units_of(visible: Any, rows: Tensor, *, grey: bool) -> Unit:
    """Return the units that rows are of.

    Arguments:
        visible: What a user says of them: a name, or a layer of units.
        rows: The rows of the fit, shape (rows, columns).
        grey: Whether values between 0 and 1 are means of binary units where nothing is said.

    Raises:
        ArgumentError: There is no such name, or the layer has not a unit for each column.
        ArgumentTypeError: It is neither.
    """
    columns = rows.shape[1]
    if isinstance(visible, Unit):
        if visible.size != columns:
            raise invalid("visible", visible, f"{columns} units, as X has so many columns")
        return copy.deepcopy(visible)
    if not isinstance(visible, str):
        expected = f"'auto', one of {', '.join(map(repr, _KNOWN))}, or a layer of units"
        raise ArgumentTypeError(f"visible: got {show(visible)}, expected {expected}")
    if visible == "auto":
        binary = bool((rows >= 0).all()) and bool((rows <= 1).all()) if grey else are_bits(rows)
        visible = "bernoulli" if binary else "gaussian"
    choose("visible", visible, ("auto", *_KNOWN))
    return _KNOWN[visible](columns)


def hidden_of(hidden: Any, size: Any, name: str = "n_components") -> Unit:
    """Return a hidden layer of a type of units.

    Arguments:
        hidden: The type.
        size: How many.
        name: The argument that says so.

    Raises:
        ArgumentError: There is no such type, or the size is no positive integer.
    """
    kind = choose("hidden", hidden, {k: v for k, v in UNITS.items() if k not in ("categorical", "mixed")})
    size = whole(size)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise invalid(name, size, "a positive number of units")
    return kind(size)


def layers_of(hidden: Any, sizes: Any) -> list[Unit]:
    """Return the hidden layers of a deep network, from the lowest one up.

    Raises:
        ArgumentError: There is no such type of units, or a size is no positive integer.
        ArgumentTypeError: The sizes are no sequence.
    """
    if not isinstance(sizes, list | tuple | np.ndarray):
        raise ArgumentTypeError(
            f"hidden_layer_sizes: got {show(sizes)}, expected numbers of units, as (256, 64)"
        )
    return [hidden_of(hidden, size, "hidden_layer_sizes") for size in sizes]


def as_option(option: str, name: str, value: Any) -> Any:
    """Return an option of a fit, checked under the name that an estimator has for it.

    Raises:
        ArgumentError: It is out of range.
        ArgumentTypeError: It has the wrong type.
    """
    value = whole(value)
    try:
        Options(**{option: value})
    except (ArgumentError, ArgumentTypeError) as error:
        raise type(error)(str(error).replace(f"{option}:", f"{name}:", 1)) from error
    return value


def make_rule(rule: Any, **settings: Any) -> Rule:
    """Return a learning rule by its name, with those of the settings that it has.

    Raises:
        ArgumentError: There is no such rule, or a setting is out of range.
        ArgumentTypeError: It is neither a rule nor a name.
    """
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, str):
        raise ArgumentTypeError(f"rule: got {show(rule)}, expected a learning rule, or its name")
    kind: type[Rule] = choose("rule", rule, RULES)
    own = {k: whole(v) for k, v in settings.items() if v is not None and k in kind.model_fields}
    return kind(**own)


def data_set(
    rows: Tensor,
    unit: Unit,
    transform: Transform | None = None,
    codes: NDArray[np.int64] | None = None,
    classes: int = 0,
    binarisation: str = "none",
) -> Dataset:
    """Return rows as a data set, with the codes of their labels last, if any.

    Arguments:
        rows: The rows, shape (rows, columns).
        unit: Their units.
        transform: What made them of the rows of a fit.
        codes: The codes of their labels, shape (rows).
        classes: How many labels there are.
        binarisation: What becomes of grey rows: ``none`` leaves them as means, ``sampled`` draws bits.
    """
    means = unit.kind == "bernoulli" and not are_bits(rows)
    if means:
        rows = rows.float()
    if codes is not None:
        label = torch.from_numpy(codes)[:, None]
        whole = torch.uint8 if classes <= 256 else torch.int32
        rows = torch.cat((rows, label.to(rows.dtype if rows.is_floating_point() else whole)), 1)
    return Dataset(
        name="X",
        train=rows,
        validation=rows[:0],
        test=rows[:0],
        labels={},
        shape=(unit.size,),
        binarisation=binarisation if means else None,
        levels=1 if means else None,
        source="an array",
        classes=tuple(range(classes)) if codes is not None else None,
        transform=transform,
    )


def whole(value: Any) -> Any:
    """Return an integer of NumPy's as one of Python's, and all else as it is."""
    return int(value) if isinstance(value, np.integer) else value


def draw_seed(random_state: Any) -> int:
    """Draw a seed for the library's own streams."""
    return int(check_random_state(random_state).randint(2**31 - 1))


def _standardiser(rows: Tensor) -> Transform:
    """Return the map to mean 0 and variance 1 of each column; one that never varies is only centred."""
    values = rows.double()
    low, high = torch.aminmax(values, dim=0)
    mean = torch.where(low == high, low, values.mean(0))
    variance = (values - mean).square().mean(0)
    if not bool(variance.isfinite().all()):
        raise DataError("X: got values too large to be squared, expected smaller ones")
    scale = torch.where(variance > 0, variance, torch.ones_like(variance)).rsqrt()
    return Transform("standardise", mean, scale=scale)


def drawn(estimator: Any, n: Any, random_state: Any, **how: Any) -> NDArray[np.float64]:
    """Return rows that a fitted estimator's model makes, in their own units, shape (n, columns).

    Arguments:
        estimator: The estimator.
        n: How many.
        random_state: Seeds the draw; the estimator's own if not given.
        how: Arguments of :func:`harmonium.sample`.
    """
    check_is_fitted(estimator)
    seed = draw_seed(estimator.random_state if random_state is None else random_state)
    model = estimator.model_
    rows = sample(model, whole(n), seed=seed, **how).double()
    return (rows if model.transform is None else model.transform.invert(rows)).detach().numpy()
