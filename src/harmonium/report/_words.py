"""Numbers and units in words, and tables of them."""

from __future__ import annotations

__all__ = [
    "Table",
    "baseline",
    "binarised",
    "bounded",
    "duration",
    "minus",
    "number",
    "own_name",
    "own_units",
    "short",
    "units",
    "wrong_labels",
]

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..units import Unit


class Table(NamedTuple):
    """A table of the page: its head, and its rows of text."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def number(value: float | None, digits: int) -> str:
    """Word a number, or that it is not known."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def minus(text: str) -> str:
    """Put the sign of minus before negative numbers."""
    return re.sub(r"(?<!\S)-(?=\d)", "−", text)


def short(value: float | None) -> str:
    """Word an error in two digits."""
    return "unknown" if value is None else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Word a number of seconds."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def units(unit: Unit) -> str:
    """Word a layer."""
    return f"{unit.size:,} {own_name(unit)} units"


def own_name(unit: Unit) -> str:
    """Word the type of a layer's units."""
    return unit.kind if unit.kind in ("spin", "mixed") else type(unit).__name__


def binarised(found: dict[str, Any]) -> str:
    """Say how grey values became bits, where they did."""
    return f" ({found['binarisation']} bits)" if found.get("binarisation") else ""


def bounded(found: dict[str, Any]) -> str:
    """Tell of the bound of a deep model, and of the estimate if there is one, without a full stop."""
    text = (
        f"On {found['rows']:,} {found['split']} rows{binarised(found)} the bound on its mean log-likelihood "
        f"is {found['bound']:.2f} nats a row, with a Monte-Carlo error of {short(found['bound_error'])}"
    )
    if found["importance_samples"]:
        text += (
            f". An estimate from {found['importance_samples']:,} samples of the hidden layers for each row, "
            f"worth {short(found['importance_ess'])} independent ones, is {found['mean']:.2f} with an error "
            f"of {short(found['standard_error'])}; in expectation it is low too, up to the error of log Z, "
            "and closer"
        )
    return text


def baseline(found: dict[str, Any]) -> Iterator[str]:
    """Compare a log-likelihood with that of independent units, where this is known."""
    floor = found.get("baseline_log_likelihood")
    if floor is not None:
        gain = found["mean"] - floor
        yield (
            f"A model in which all units are independent reaches {floor:.2f}; the machine is "
            f"{abs(gain):.2f} nats a row {'better' if gain > 0 else 'worse'} than that."
        )


def wrong_labels(found: dict[str, Any]) -> Iterator[str]:
    """Say how often the model of a label takes another one for the most probable, if it has one."""
    if found.get("error") is not None:
        yield f"It takes a wrong label for the most probable one of {found['error']:.2%} of these rows."


def own_units(found: dict[str, Any]) -> Iterator[str]:
    """Say what a log-likelihood of transformed rows is in the units that the rows came in."""
    determinant = found.get("log_determinant")
    if determinant is not None and "transform" in found:
        yield (
            f"These are densities of rows transformed by {found['transform']}. In the units that the rows "
            f"came in, the mean is {found['mean'] + determinant:.2f}: the transform's log-determinant, "
            f"{determinant:.2f}, is added."
        )
    elif determinant is not None:
        yield (
            "These are densities of a table's columns as they were transformed. In the table's own units the "
            f"mean is {found['mean'] + determinant:.2f}: the mean log-Jacobian, {determinant:.2f}, is added."
        )
