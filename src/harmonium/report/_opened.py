"""A run folder opened: its model, its data, its log and its chains."""

from __future__ import annotations

__all__ = [
    "BESIDE",
    "EVALUATION",
    "MEASURED",
    "OpenRun",
    "environment",
    "open_data",
    "open_entry",
    "open_model",
    "open_run",
    "with_transform",
]

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
from ..learning import chain_rows
from ..models import DBM, DBN, RBM, Model, PairwiseModel, check_transform
from ..models import load as load_model
from ..training import RunFolder, changed_splits
from ..training.pretrain import GREEDY, JOINT, stage_folders
from ..units import Categorical, Mixed, Spin

EVALUATION = "evaluation.json"
"""The file of a run's evaluations: one object for each split, by its name."""

MEASURED = "measures.json"
"""The file of the last table of measures of a run's samples."""

BESIDE = "beside"
"""The folder, within a run's, of runs of other models that were trained for comparison."""

_TAIL = 0.01
_SCORES = {
    "mlp": "validation/accuracy",
    "dbm-classifier": "validation/accuracy",
    "autoencoder": "validation/negative_loss",
}


@dataclass(frozen=True)
class OpenRun:
    """A run that has been trained, with what made it."""

    folder: RunFolder
    config: dict[str, Any]
    model: Model
    data: Dataset
    records: list[dict[str, Any]]
    """One for each epoch: metrics by name; None where a number was not finite. Those of a network that was
    trained layer by layer tell the number of the ``layer``, from 1 on."""
    chains: Tensor | None
    """Values of the last checkpoint's persistent chains, shape (chains, size), if it has some. Those of a
    deep belief network are of its top RBM's visible layer."""

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """The shape of a row, its label apart, if it is an image: (height, width), or (3, height, width)."""
        match self.data.shape:
            case (int(height), int(width)) | (1, int(height), int(width)) if min(height, width) > 1:
                return height, width
            case (3, int(height), int(width)) if min(height, width) > 1:
                return 3, height, width
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
        return _usual(self.images(self.data.fixed("train", 1000)))

    @property
    def own_limits(self) -> tuple[float, float]:
        """The same of rows in the units that the data came in."""
        if self.data.transform is None:
            return self.limits
        return _usual(self.images(self.untransformed(self.data.fixed("train", 1000))))

    @property
    def plain(self) -> bool:
        """Whether each visible unit has one column, the label apart, so that its mean is a pixel."""
        unit, classes = self.model.visible, len(self.data.classes or (0,))
        return unit.width - unit.size == classes - 1

    @property
    def weights(self) -> str:
        """Whether its weights are ``averaged`` over updates, or ``raw``; layers may differ."""
        options = self.config["options"]
        stages = options.get("layers") or [options]
        stages = stages[-1:] if isinstance(self.model, DBM) else stages
        kinds = ["averaged" if _averaged(own) else "raw" for own in stages]
        return " and ".join(dict.fromkeys(kinds))

    @property
    def greedy(self) -> bool:
        """Whether the model was trained layer by layer."""
        return self.config["rule"].get("name") == GREEDY

    @property
    def chosen(self) -> int:
        """The epoch whose parameters a classifier or an autoencoder has: the best, if patience was set."""
        options = self.config["options"]
        name = options.get("score") or _SCORES[self.model.kind]
        scores = {record["epoch"]: record.get(name) for record in self.records}
        known = {epoch: score for epoch, score in scores.items() if score is not None}
        if options.get("patience") is None or not known:
            return max(scores, default=0)
        return max(known, key=lambda epoch: (known[epoch], -epoch))

    def chains_of(self, number: int, rbm: RBM) -> Tensor | None:
        """Return the chains that a layer's training left, shape (chains, size).

        Arguments:
            number: Of the layer, from 1 on.
            rbm: Its RBM.
        """
        return _chains(RunFolder(self.folder.path / f"layer-{number}"), rbm)

    def untransformed(self, rows: Tensor) -> Tensor:
        """Return rows in the units that the data came in, shape (rows, size); labels stay what they are."""
        transform = self.data.transform
        if transform is None:
            return rows
        return torch.cat((transform.invert(self.images(rows)), rows[:, self.data.columns :].cpu()), 1)

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

    def measures(self) -> dict[str, Any] | None:
        """Return the last table of measures of its samples, if there is one.

        Raises:
            FileError: The file is damaged.
        """
        path = self.folder.path / MEASURED
        return read_json(path) if path.is_file() else None

    @property
    def held_out(self) -> str:
        """The first of the splits that has rows: test, validation, train."""
        found = {"test": self.data.test, "validation": self.data.validation}
        return next((split for split, rows in found.items() if len(rows)), "train")

    def beside(self) -> dict[str, OpenRun]:
        """Return the runs of other models that were trained for comparison and have ended, by name.

        Raises:
            FileError: One is damaged.
        """
        places = sorted((self.folder.path / BESIDE).glob("*/model.safetensors"))
        return {place.parent.name: open_run(place.parent, self.data) for place in places}


def _averaged(options: dict[str, Any]) -> bool:
    """Return whether options average weights, and remember some of them at the end of the run."""
    end = options.get("final", {}).get("half_life", options.get("half_life"))
    return bool(options.get("averaging")) and end != 0


def open_run(path: str | Path, data: Dataset | None = None, *, same: bool = True) -> OpenRun:
    """Open the folder of a run that has been trained.

    Arguments:
        path: The run folder.
        data: The data set; by default the one that the folder's ``config.json`` names.
        same: Whether that one must have the rows that the run began with.

    Raises:
        FileError: The folder is no run, is damaged, holds no model yet, or names no data; or the data have
            changed since.
        DataError: Another transform made the data's rows than those that the run began with.
    """
    folder = RunFolder(path)
    config = folder.config()
    model = open_model(folder)
    if data is None:
        data = open_data(folder)
        if same:
            _check_same(folder, config, data)
    check_transform(model, data)
    greedy = config["rule"].get("name") == GREEDY
    places = stage_folders(folder) if greedy else []
    if isinstance(model, DBN):
        chains = _chains(places[-1], model.top) if greedy else _chains(folder, model.top, "top.")
    else:
        chains = _chains(places[-1] if greedy else folder, model)
    told = [
        {"layer": JOINT if place.path.name == JOINT else n, **record}
        for n, place in enumerate(places, 1)
        for record in _records(place.log_path)
    ]
    return OpenRun(
        folder=folder,
        config=config,
        model=model,
        data=data,
        records=told if greedy else _records(folder.log_path),
        chains=chains,
    )


def open_model(folder: RunFolder) -> Model:
    """Load the model of a run that has been trained.

    Raises:
        FileError: There is none yet, or it is damaged.
    """
    if not folder.model_path.is_file():
        raise FileError(
            f"{folder.path}: there is no model yet, because training has not ended; "
            f"go on with: harmonium resume {folder.path}"
        )
    return load_model(folder.model_path)


def open_data(folder: RunFolder) -> Dataset:
    """Load the data set that the configuration of a run names, by the run's own transform or schema.

    Raises:
        FileError: It names none, or the data are not where they were.
    """
    source, arguments = open_entry(folder)
    return load(source, **with_transform(folder, arguments))


def with_transform(folder: RunFolder, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of loading data with the transform or the schema that a run has kept.

    They are in place of those that would be fitted.

    Where others are asked for, they stay, and the data that they make are refused later.

    Arguments:
        folder: The run folder.
        arguments: Those of :func:`harmonium.datasets.load`.
    """
    schema = folder.schema()
    if schema is not None:
        rest = {name: value for name, value in arguments.items() if name not in ("columns", "missing")}
        return {**rest, "schema": schema}
    own = folder.transform()
    rest = {name: value for name, value in arguments.items() if name not in ("transform", "epsilon")}
    kind, epsilon = arguments.get("transform"), arguments.get("epsilon")
    if own is None or kind not in (None, own.kind) or epsilon not in (None, own.epsilon):
        return arguments
    return {**rest, "transform": own}


def open_entry(folder: RunFolder) -> tuple[str, dict[str, Any]]:
    """Return where the configuration of a run says that its data are, and how they are loaded.

    Raises:
        FileError: It does not say.
    """
    entry = folder.config().get("data")
    if not isinstance(entry, dict) or "source" not in entry:
        raise FileError(
            f"{folder.path}: its config.json names no data set, because the run was made from Python; "
            "name the data with --data, or go on in Python"
        )
    return entry["source"], dict(entry.get("arguments", {}))


def _check_same(folder: RunFolder, config: dict[str, Any], data: Dataset) -> None:
    """Check that data are still those that a run began with."""
    changed = changed_splits(config, data)
    if changed:
        source = config["data"]["source"]
        splits = " and ".join(filter(None, (", ".join(changed[:-1]), changed[-1])))
        raise FileError(
            f"{folder.path}: the {splits} rows of {source} are not those that the run began with; "
            f"bring those back, or ask for these: --data {source} (in Python, data=)"
        )


def environment() -> dict[str, Any]:
    """Return what a run depends on besides its settings: versions, platform and threads."""
    names = ("harmonium", "torch", "numpy", "numba")
    return {
        **{name: metadata.version(name) for name in names},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def _usual(rows: Tensor) -> tuple[float, float]:
    """Return the ends between which all but a few values of rows lie."""
    values = rows.float().flatten()[: 2**23]
    low, high = torch.quantile(values, torch.tensor([_TAIL, 1 - _TAIL])).tolist()
    return (low, high) if low < high else (low, low + 1)


def _records(path: Path) -> list[dict[str, Any]]:
    """Read the log, without a torn last line."""
    try:
        lines = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
        return [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: damaged, expected one JSON object on each line ({error})") from error


def _chains(folder: RunFolder, machine: Model, prefix: str = "chain.") -> Tensor | None:
    """Return the rows that the chains in a run's last checkpoint are at, if it has some."""
    if not (isinstance(machine, PairwiseModel) and folder.checkpoints()):
        return None
    return chain_rows(machine, folder.load()[0], f"state:{prefix}")
