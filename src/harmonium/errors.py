"""Errors and warnings that a user can act on.

Every mistake of a user is a :class:`HarmoniumError` and also a ``ValueError`` or a ``TypeError``. Its
message names the argument, says what came and what is expected, and it is raised before any work.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "ArgumentTypeError",
    "DataError",
    "FileError",
    "HarmoniumError",
    "HarmoniumWarning",
    "TrainingError",
    "check_memory",
    "choose",
    "invalid",
    "show",
]

import math
import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

T = TypeVar("T")

_LONG = 100
_BYTES = 4


class HarmoniumError(Exception):
    """The base of all errors that this library raises on purpose."""


class HarmoniumWarning(UserWarning):
    """What works, and is probably not meant."""


class ArgumentError(HarmoniumError, ValueError):
    """An argument has the right type and a value that cannot be used."""


class ArgumentTypeError(HarmoniumError, TypeError):
    """An argument has the wrong type."""


class DataError(HarmoniumError, ValueError):
    """Data do not fit the model or the data set that they are given to."""


class FileError(HarmoniumError, ValueError):
    """A file or folder is missing, damaged, of a newer version, or would be overwritten."""


class TrainingError(HarmoniumError, ValueError):
    """Training cannot go on, for instance because a parameter is no longer finite."""


def invalid(name: str, got: object, expected: str) -> ArgumentError:
    """Return the error for argument ``name`` that came as ``got`` where ``expected`` was due."""
    return ArgumentError(f"{name}: got {show(got)}, expected {expected}")


def show(value: object) -> str:
    """Return the value as it is quoted in errors: on one line, and shortened if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONG else f"{text[: _LONG - 3]}..."


def choose(name: str, key: object, table: Mapping[str, T] | Iterable[str]) -> Any:
    """Look ``key`` up in ``table``, or raise an error that offers the nearest right name.

    Returns:
        ``table[key]`` of a mapping, else ``key`` itself.

    Raises:
        ArgumentError: ``key`` is not in ``table``.
    """
    names = list(table)
    if isinstance(key, str) and key in names:
        return table[key] if isinstance(table, Mapping) else key
    near = get_close_matches(str(key), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ArgumentError(f"{name}: unknown {show(key)}, expected one of {', '.join(names)}{hint}")


def check_memory(name: str, got: object, numbers: int) -> None:
    """Check that the machine has the memory for what an argument asks for, before any of it is taken.

    Arguments:
        name: The argument.
        got: What came.
        numbers: How many single-precision numbers there will be.

    Raises:
        ArgumentError: With the memory that they need, and the memory that there is.
    """
    need, have = _BYTES * numbers, _memory()
    if need > have:
        expected = f"less: {need >> 30:,} GiB of memory are needed, and there are {int(have) >> 30:,}"
        raise invalid(name, got, expected)


def _memory() -> float:
    """Return the bytes of the machine's memory; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return math.inf
