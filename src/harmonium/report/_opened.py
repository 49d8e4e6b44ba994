"""A run folder opened: its model, its data, its log and its chains."""

from __future__ import annotations

__all__ = ["EVALUATION", "OpenRun", "environment", "open_data", "open_run"]

import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset, load
from ..errors import FileError
from ..files import read_json
from ..models import PairwiseModel
from ..models import load as load_model
from ..training import RunFolder
from ..units import Categorical, Mixed, Spin

EVALUATION = "evaluation.json"
"""The file of a run's evaluations: one object for each split, by its name."""

_TAIL = 0.01


@dataclass(frozen=True)
class OpenRun:
    """A run that has been trained, with what made it."""

    folder: RunFolder
    config: dict[str, Any]
    model: PairwiseModel
    data: Dataset
    records: list[dict[str, Any]]
    """One for each epoch: metrics by name; None where a number was not finite."""
    chains: Tensor | None
    """Values of the last checkpoint's persistent chains, shape (chains, size), if it has some."""

    @property
    def image_shape(self) -> tuple[int, int] | None:
        """The height and the width of a row, its label apart, if it is a grey image."""
        match self.data.shape:
            case (int(height), int(width)) if min(height, width) > 1:
                return height, width
        return None

    @property
    def limits(self) -> tuple[float, float]:
        """The values of a visible unit that a picture shows as black and white."""
        unit = self.model.visible
        if isinstance(unit, Mixed):
            unit = unit.parts[0]
        if isinstance(unit, Spin):
            return -1.0, 1.0
        if isinstance(unit, Categorical):
            return 0.0, unit.states - 1.0
        if unit.support() is not None:
            return 0.0, 1.0
        values = self.images(self.data.fixed("train", 1000)).float().flatten()
        low, high = torch.quantile(values[: 2**23], torch.tensor([_TAIL, 1 - _TAIL])).tolist()
        return (low, high) if low < high else (low, low + 1)

    def images(self, rows: Tensor) -> Tensor:
        """Return rows without their labels, shape (rows, columns)."""
        return rows[:, : self.data.columns]

    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Return what has been evaluated, by the name of the split.

        Raises:
            FileError: The file is damaged.
        """
        path = self.folder.path / EVALUATION
        content = read_json(path) if path.is_file() else {}
        return {split: found for split, found in content.items() if isinstance(found, dict)}


def open_run(path: str | Path, data: Dataset | None = None) -> OpenRun:
    """Open the folder of a run that has been trained.

    Arguments:
        path: The run folder.
        data: The data set; by default the one that the folder's ``config.json`` names.

    Raises:
        FileError: The folder is no run, is damaged, holds no model yet or one of another kind, or names no data.
    """
    folder = RunFolder(path)
    config = folder.config()
    if not folder.model_path.is_file():
        raise FileError(
            f"{folder.path}: there is no model yet, because training has not ended; "
            f"go on with: harmonium resume {folder.path}"
        )
    model = load_model(folder.model_path)
    if not isinstance(model, PairwiseModel):
        raise FileError(f"{folder.path}: got a {model.kind}, expected a run of an RBM or a Boltzmann machine")
    chains = None
    if folder.checkpoints():
        chains = folder.load()[0].get("state:chain.visible")
    return OpenRun(
        folder=folder,
        config=config,
        model=model,
        data=open_data(folder) if data is None else data,
        records=_records(folder.log_path),
        chains=None if chains is None else model.visible.values(chains),
    )


def open_data(folder: RunFolder) -> Dataset:
    """Load the data set that the configuration of a run names.

    Raises:
        FileError: It names none, or the data are not where they were.
    """
    entry = folder.config().get("data")
    if not isinstance(entry, dict) or "source" not in entry:
        raise FileError(
            f"{folder.path}: its config.json names no data set, because the run was made from Python; "
            "go on from there, where the data are"
        )
    return load(entry["source"], **entry.get("arguments", {}))


def environment() -> dict[str, Any]:
    """Return what a run depends on besides its settings: versions, platform and threads."""
    names = ("harmonium", "torch", "numpy", "numba")
    return {
        **{name: metadata.version(name) for name in names},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def _records(path: Path) -> list[dict[str, Any]]:
    """Read the log, without a torn last line."""
    try:
        lines = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
        return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: damaged, expected one JSON object on each line ({error})") from error
