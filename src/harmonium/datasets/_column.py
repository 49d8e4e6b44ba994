r"""One column of a table: how its cells become the values of a unit, and values become cells.

A boolean is a bit and a category a code, its place among the levels. A number :math:`x` becomes
:math:`y = g(x)` for a Gaussian unit, by an increasing :math:`g` fitted on the cells that are there:

* ``standardise``: :math:`y = (x - m) / s`, of mean 0 and variance 1.
* ``log-standardise``: :math:`y = (\operatorname{asinh}((x - c) / a) - m) / s`, with the median :math:`c` and
  the mean distance from it, :math:`a`: a line near the median and a logarithm far from it, on either side.
* ``quantile``: :math:`y = \Phi^{-1}(F(x))`, where :math:`F` runs straight between the middle ranks of at
  most a thousand values and is flat beyond them.

The first two have a density, so that :math:`\log p(x) = \log p(y) + \log g'(x)`. The last has none: nats of
such a column are those of the transformed one.
"""

from __future__ import annotations

__all__ = ["ALL", "COLUMNS", "MAPS", "Column"]

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ArgumentError, DataError, choose, invalid, show
from ._spare import Floats

COLUMNS = ("bernoulli", "categorical", "gaussian")
"""The kinds of columns, in the order of a row's blocks."""
MAPS = ("standardise", "log-standardise", "quantile")
"""The transforms of numbers by name."""
_FLAT = ("quantile",)
"""Those without a density."""
ALL = "*"
"""The name that stands for all columns of numbers."""
KNOTS = 1000
_PART = 1 << 20
FALSE, TRUE = "false", "true"
_BITS = {FALSE: "0", TRUE: "1"}
_PLAIN = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d*)?")
"""What float64 tells apart from all other numbers so written; a zero in front may be a part of a name."""
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Arguments:
        name: Its name.
        kind: A name in ``COLUMNS``.
        levels: Of bits and codes the cells as text, in the order of the values 0, 1, ...
        unseen: Whether the last level takes every text that is no other level.
        transform: Of numbers a name in ``MAPS``.
        integral: Whether all numbers were integers, so that values come back rounded.
        numbers: The transform's numbers: m and s; c, a, m and s; or the knots, first of x and then of y.

    Raises:
        ArgumentError: These describe no column.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    unseen: bool = False
    transform: str | None = None
    integral: bool = False
    numbers: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise invalid("name", self.name, "text")
        choose(f"kind of column {self.name!r}", self.kind, COLUMNS)
        if self.kind == "gaussian":
            choose(f"transform of column {self.name!r}", self.transform, MAPS)
            self._check_numbers()
            return
        count = len({*self.levels})
        if count != len(self.levels) or count < 2 or (self.kind == "bernoulli" and count != 2):
            expected = "two different texts" if self.kind == "bernoulli" else "at least two different texts"
            raise invalid(f"levels of column {self.name!r}", self.levels, expected)

    @property
    def has_density(self) -> bool:
        """Whether nats of this column are of the table's own units."""
        return self.transform not in _FLAT

    @property
    def treatment(self) -> str:
        """How the column is treated, in words."""
        if self.kind != "gaussian":
            other = ", the last one for all that are unseen" if self.unseen else ""
            return f"{len(self.levels)} levels{other}"
        return in_words(self.transform)

    def encode(self, cells: Sequence[Any], first: int = 0) -> Floats:
        """Return cells as values of the unit, shape (rows), NaN where one is None.

        Arguments:
            cells: Texts, or numbers; None is a gap.
            first: The number of the first row, for errors.

        Raises:
            DataError: A cell is no level, or no finite number; it is named.
        """
        if self.kind == "gaussian":
            values = self.forward(finite(self.name, cells, first))
            far = np.flatnonzero(np.abs(values) > _LARGEST)
            if len(far):
                row = int(far[0])
                raise DataError(
                    f"column {self.name!r}: row {first + row} (from 0): got {show(cells[row])}, expected a "
                    "number that float32 holds once it is transformed, or an empty cell for a gap"
                )
            return values
        texts = cells if is_text(cells) else [None if cell is None else text(cell) for cell in cells]
        codes = self.codes({*texts})
        unknown = [level for level, code in codes.items() if level is not None and math.isnan(code)]
        if unknown and not self.unseen:
            row = min(map(texts.index, unknown))
            trained = (
                f"columns={{{self.name!r}: 'unseen'}} (--column {self.name}=unseen, or +unseen behind levels)"
            )
            raise DataError(
                f"column {self.name!r}: row {first + row} (from 0): got {show(cells[row])}, expected one of "
                f"{shorten(self.levels)}, or an empty cell for a gap; a model trained with {trained} takes "
                "others as a level of their own"
            )
        codes |= dict.fromkeys(unknown, len(self.levels) - 1.0)
        return np.fromiter(map(codes.__getitem__, texts), np.float64, len(cells))

    def codes(self, texts: Iterable[str | None]) -> dict[str | None, float]:
        """Return the codes of texts, NaN where one is no level or None.

        What says the same as a single level in another way, as 1.0 for 1 and TRUE for true, is that level;
        of bits also true for 1.
        """
        own = {level: float(code) for code, level in enumerate(self.levels)}
        named = self.levels[:-1] if self.unseen else self.levels
        counts = Counter(map(self._meaning, named))
        same = {m: own[level] for level in named if counts[m := self._meaning(level)] == 1}
        found: dict[str | None, float] = dict.fromkeys(texts, math.nan)
        for each in found:
            if each is not None:
                level = each.strip()
                found[each] = own[level] if level in own else same.get(self._meaning(level), math.nan)
        return found

    def _meaning(self, level: str) -> str:
        found = usual(level)
        return _BITS.get(found, found) if self.kind == "bernoulli" else found

    def decode(self, values: Floats) -> list[Any]:
        """Return values of the unit as cells: texts, numbers, and None for a gap.

        Raises:
            DataError: A value is no code of a level.
        """
        if self.kind == "gaussian":
            numbers = self.backward(values)
            if self.integral:
                return [None if math.isnan(x) else round(x) for x in numbers.tolist()]
            return [None if math.isnan(x) else x for x in numbers.tolist()]
        bad = ~np.isnan(values) & ~np.isin(values, np.arange(len(self.levels)))
        if bad.any():
            got = values[bad][0]
            raise DataError(
                f"column {self.name!r}: got {got}, expected a code in 0 ... {len(self.levels) - 1}"
            )
        return [None if math.isnan(x) else self.levels[int(x)] for x in values.tolist()]

    def forward(self, x: Floats) -> Floats:
        """Return y = g(x) of numbers; NaN stays."""
        if self.transform == "quantile":
            knots = np.array(self.numbers).reshape(2, -1)
            return np.interp(x, knots[0], knots[1])
        if self.transform == "log-standardise":
            centre, width, mean, scale = self.numbers
            return (np.arcsinh((x - centre) / width) - mean) / scale
        mean, scale = self.numbers
        return (x - mean) / scale

    def backward(self, y: Floats) -> Floats:
        """Return the numbers whose :meth:`forward` is y; NaN stays."""
        if self.transform == "quantile":
            knots = np.array(self.numbers).reshape(2, -1)
            return np.interp(y, knots[1], knots[0])
        if self.transform == "log-standardise":
            centre, width, mean, scale = self.numbers
            return np.sinh(y * scale + mean) * width + centre
        mean, scale = self.numbers
        return y * scale + mean

    def log_slope(self, y: Floats) -> Floats:
        """Return log g'(x) at g(x) = y, and 0 at a gap and wherever the column has no density of its own."""
        if self.kind != "gaussian" or not self.has_density:
            return np.zeros_like(y)
        if self.transform == "log-standardise":
            _, width, mean, scale = self.numbers
            u = np.abs(y * scale + mean)
            log_cosh = u + np.log1p(np.exp(-2 * u)) - math.log(2)
            slope = -log_cosh - math.log(width * scale)
        else:
            slope = np.full_like(y, -math.log(self.numbers[1]))
        return np.where(np.isnan(y), 0.0, slope)

    def config(self) -> dict[str, Any]:
        """Return the column as values that JSON can hold."""
        found = asdict(self)
        return {**found, "levels": list(self.levels), "numbers": list(self.numbers)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Column:
        """Return the column whose :meth:`config` this is.

        Raises:
            ArgumentError: It is that of no column.
        """
        if {*config} != {*cls.__dataclass_fields__}:
            raise invalid("column", [*config], ", ".join(cls.__dataclass_fields__))
        arguments = dict(config)
        arguments["levels"], arguments["numbers"] = tuple(config["levels"]), tuple(config["numbers"])
        return cls(**arguments)

    def _check_numbers(self) -> None:
        """Refuse numbers that are no increasing map."""
        values = np.array(self.numbers, dtype=np.float64)
        right = bool(np.isfinite(values).all())
        if self.transform == "quantile":
            steps = np.diff(values.reshape(2, -1)) if len(values) % 2 == 0 else np.empty(0)
            right = right and steps.size > 0 and bool((steps > 0).all())
        elif self.transform == "log-standardise":
            right = right and len(values) == 4 and values[1] > 0 and values[3] > 0
        else:
            right = right and len(values) == 2 and values[1] > 0
        if not right:
            expected = "the finite numbers of an increasing map"
            raise invalid(f"numbers of column {self.name!r}", self.numbers, expected)


def in_words(transform: str | None) -> str:
    """Return a transform with what likelihoods under it are of, where that is not the table's own units."""
    return f"{transform} (nats are those of the transformed column)" if transform in _FLAT else f"{transform}"


def fit_numbers(name: str, x: Floats, transform: str, rows: str = "rows") -> Column:
    """Fit a column of numbers, shape (numbers), to those that are there.

    Arguments:
        name: The name of the column.
        x: The numbers in increasing order, none of them missing.
        transform: That of the numbers.
        rows: What rows these are, for errors.

    Raises:
        ArgumentError: There is no such transform.
        DataError: All numbers are the same.
    """
    choose(f"transforms: of column {name!r}", transform, MAPS)
    if not len(x):
        raise DataError(
            f"column {name!r}: all cells of the {rows} are missing, expected numbers; {dropping(name)}"
        )
    if x[0] == x[-1]:
        raise DataError(
            f"column {name!r}: got {x[0]:g} in all {rows}, expected numbers that vary; {dropping(name)}"
        )
    integral = max(-x[0], x[-1]) < 2**53 and all(bool((part == np.trunc(part)).all()) for part in _parts(x))
    if transform == "quantile":
        numbers = _knots(x)
    elif transform == "log-standardise":
        centre = float(x[(len(x) - 1) // 2] + x[len(x) // 2]) / 2
        width = _mean(x, lambda part: np.abs(part - centre))
        mean, scale = _moments(x, lambda part: np.arcsinh((part - centre) / width))
        numbers = (centre, width, mean, scale)
    else:
        numbers = _moments(x, lambda part: part)
    try:
        return Column(name, "gaussian", transform=transform, integral=integral, numbers=numbers)
    except ArgumentError as error:
        got = f"numbers from {x[0]:g} to {x[-1]:g}"
        raise DataError(f"column {name!r}: got {got}, which {transform} cannot map in float64") from error


def finite(name: str, cells: Sequence[Any], first: int = 0) -> Floats:
    """Return cells as numbers, shape (rows), NaN where one is None.

    Raises:
        DataError: A cell is no finite number; it is named.
    """
    if (quick := _all_finite(cells)) is not None:
        return quick
    out = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        number = as_number(cell)
        if number is None or not math.isfinite(number):
            raise DataError(
                f"column {name!r}: row {first + row} (from 0): got {show(cell)}, expected a finite number, "
                "or an empty cell for a gap"
            )
        out[row] = number
    return out


def _all_finite(cells: Sequence[Any]) -> Floats | None:
    """Return texts as numbers, NaN where one is None, or None where one is no finite number."""
    if not is_text(cells) or any("_" in cell for cell in cells if cell):
        return None
    try:
        out = np.array([math.nan if cell is None else float(cell) for cell in cells])
    except ValueError:
        return None
    return out if np.isfinite(out).sum() == len(cells) - cells.count(None) else None


def is_text(cells: Sequence[Any]) -> bool:
    """Return whether all cells are texts or None."""
    return {*map(type, cells)} <= {str, type(None)}


def as_number(cell: Any) -> float | None:
    """Return a cell as a number, or None if it is none."""
    if isinstance(cell, str) and "_" in cell:
        return None
    try:
        return float(cell)
    except (TypeError, ValueError, OverflowError):
        return None


def text(cell: Any) -> str:
    """Return a cell as the text of a level; booleans are those of JSON, and whole numbers have no point."""
    if isinstance(cell, (bool, np.bool_)):
        return TRUE if cell else FALSE
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    return str(cell)


def usual(level: str) -> str:
    """Return the text of a boolean or a plain number as it is usually written, and any other as it is."""
    if _PLAIN.fullmatch(level):
        return text(float(level))
    return level.lower() if level.lower() in (FALSE, TRUE) else level


def dropping(name: str) -> str:
    """Return in words how a column is left out."""
    return f"leave it out (--column {name}=drop; of a data set columns={{{name!r}: 'drop'}})"


def shorten(names: Iterable[str]) -> str:
    """Return names in a line, the first ten of them."""
    names = list(names)
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _parts(x: Floats) -> Iterator[Floats]:
    """Yield numbers in parts that take little memory."""
    for first in range(0, len(x), _PART):
        yield x[first : first + _PART]


def _mean(x: Floats, of: Callable[[Floats], Floats]) -> float:
    """Return the mean of a function of numbers."""
    return float(sum(of(part).sum() for part in _parts(x)) / len(x))


def _moments(x: Floats, of: Callable[[Floats], Floats]) -> tuple[float, float]:
    """Return the mean and the standard deviation of a function of numbers."""
    mean = _mean(x, of)
    return mean, math.sqrt(_mean(x, lambda part: np.square(of(part) - mean)))


def _knots(x: Floats) -> tuple[float, ...]:
    """Return values in increasing order, and the normal quantiles of their middle ranks."""
    count = sum(map(len, _starts(x)))
    own = np.linspace(0, count - 1, min(count, KNOTS)).round().astype(int)
    edges, seen = np.stack((own, own + 1)), 0
    places = np.full(edges.shape, len(x))
    for starts in _starts(x):
        here = (edges >= seen) & (edges < seen + len(starts))
        places[here] = starts[edges[here] - seen]
        seen += len(starts)
    normal = torch.special.ndtri(torch.from_numpy(places.sum(0) / (2 * len(x)))).numpy()
    return (*x[places[0]].tolist(), *normal.tolist())


def _starts(x: Floats) -> Iterator[NDArray[np.int64]]:
    """Yield where, in increasing numbers, each begins that is larger than the one before, part by part."""
    first = 0
    for part in _parts(x):
        new = np.append(first == 0 or part[0] != x[first - 1], part[1:] != part[:-1])
        yield first + np.flatnonzero(new)
        first += len(part)
