"""The log of a run as TensorBoard events."""

from __future__ import annotations

__all__ = ["Events", "require"]

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import ArgumentError


def require() -> Any:
    """Return TensorBoard's writer class.

    Raises:
        ArgumentError: The package is missing.
    """
    try:
        return import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ArgumentError(
            "tensorboard: got True, expected the package tensorboard to be installed: "
            "pip install 'harmonium[tensorboard]'"
        ) from error


class Events:
    """Creates the writer of a run's events.

    Arguments:
        path: The folder of the events.
        first: The first epoch to be written; what is there of it and of later ones is dropped.
    """

    def __init__(self, path: Path, first: int) -> None:
        self.writer = require()(str(path), purge_step=first)

    def write(self, record: dict[str, Any]) -> None:
        """Append the numbers of an epoch's record."""
        for name, value in _numbers(record):
            self.writer.add_scalar(name, value, record["epoch"])
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()


def _numbers(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, int | float):
            yield prefix + key, value
