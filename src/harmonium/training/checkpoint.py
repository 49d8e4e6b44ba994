"""Run folders and checkpoints: a run that was killed goes on bit for bit.

A run is a folder of plain files: ``config.json``, ``metrics.jsonl``, ``checkpoints/`` and, at its end,
``model.safetensors``; and where its rows were transformed, ``transform.safetensors``. A checkpoint holds the
model, the averages, the optimisers, the rule's state with its chains, the streams' steps, the place in the
epoch, the log's length and torch's own generator.
"""

from __future__ import annotations

__all__ = ["RunFolder"]

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets import Schema, Transform
from ..errors import ArgumentTypeError, FileError, show
from ..files import (
    VERSION,
    check_version,
    load_tensors,
    read_json,
    save_tensors,
    to_json,
    write_bytes,
)

_LOGGER = logging.getLogger("harmonium")
_PARTS = {"model": dict, "rule": dict, "options": dict, "fingerprint": str}


class RunFolder:
    """Creates the handle of a run folder.

    Arguments:
        path: The folder.

    Raises:
        ArgumentTypeError: ``path`` is no path.
    """

    def __init__(self, path: str | Path) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise ArgumentTypeError(f"out: got {show(path)}, expected the path of a folder")
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.log_path = self.path / "metrics.jsonl"
        self.model_path = self.path / "model.safetensors"
        self.transform_path = self.path / "transform.safetensors"
        self.samples_path = self.path / "samples"
        self.checkpoints_path = self.path / "checkpoints"
        self.events_path = self.path / "tensorboard"
        self._fresh = False

    def create(self, config: dict[str, Any], *, parts: bool = True) -> None:
        """Make the folder and write its configuration, or nothing at all.

        Arguments:
            config: The configuration.
            parts: Whether to make the folders for checkpoints and samples as well.

        Raises:
            ArgumentError: JSON cannot hold the configuration.
            FileError: The folder holds something already, or cannot be written.
        """
        text = to_json({"version": VERSION, **config})
        try:
            self._fresh = not self.path.exists()
            if not self._fresh and (not self.path.is_dir() or any(self.path.iterdir())):
                raise FileError(f"out: {self.path} exists already, expected a new or empty folder")
            self.path.mkdir(parents=True, exist_ok=True)
            for part in (self.checkpoints_path, self.samples_path) if parts else ():
                part.mkdir()
        except OSError as error:
            raise FileError(f"out: {self.path} cannot be written ({error.strerror})") from error
        try:
            write_bytes(self.config_path, text)
        except BaseException:
            self.clear()
            raise

    def clear(self) -> None:
        """Remove what :meth:`create` has just made, and the run that could not begin in it."""
        for part in (self.checkpoints_path, self.samples_path, self.events_path):
            shutil.rmtree(part, ignore_errors=True)
        for part in (self.config_path, self.log_path, self.transform_path):
            part.unlink(missing_ok=True)
        if self._fresh:
            self.path.rmdir()

    def keep_transform(self, transform: Transform | None) -> None:
        """Write down what made the run's rows of rows in their own units, if anything did."""
        if transform is not None:
            save_tensors(self.transform_path, "transform", transform.state(), transform.config())

    def transform(self) -> Transform | None:
        """Return what made the run's rows of rows in their own units; None where nothing did.

        Raises:
            FileError: The file is damaged, or of a newer version.
        """
        if not self.transform_path.is_file():
            return None
        state, config = load_tensors(self.transform_path, "transform")
        try:
            return Transform.from_state(config, state)
        except (TypeError, ValueError) as error:
            raise FileError(f"{self.transform_path}: none that this harmonium knows ({error})") from error

    def keep_schema(self, schema: Schema | None) -> None:
        """Write down in the configuration what made the run's rows of a table, if anything did."""
        if schema is not None:
            write_bytes(self.config_path, to_json({**self.config(), "schema": schema.config()}))

    def schema(self) -> Schema | None:
        """Return what made the run's rows of a table with columns of several types; None where nothing did.

        Raises:
            FileError: The configuration is damaged.
        """
        config = self.config().get("schema")
        try:
            return None if config is None else Schema.from_config(config)
        except (TypeError, ValueError, KeyError) as error:
            raise FileError(
                f"{self.config_path}: schema: none that this harmonium knows ({error})"
            ) from error

    def config(self) -> dict[str, Any]:
        """Return the configuration.

        Raises:
            FileError: The folder is no run, damaged, or of a newer version.
        """
        if not self.config_path.is_file():
            what = (
                "no run folder, expected one with a config.json" if self.path.exists() else "no such folder"
            )
            raise FileError(f"{self.path}: {what}")
        config = read_json(self.config_path)
        check_version(self.config_path, config.get("version"))
        for name, kind in _PARTS.items():
            if not isinstance(config.get(name), kind):
                got = show(config.get(name))
                raise FileError(f"{self.config_path}: {name}: got {got}, expected a {kind.__name__}")
        return config

    def change(self, options: dict[str, Any]) -> None:
        """Write changed options into the configuration."""
        config = self.config()
        config["options"] |= options
        write_bytes(self.config_path, to_json(config))

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(self.checkpoints_path.glob("*.safetensors"))

    def save(self, updates: int, tensors: dict[str, Tensor], content: dict[str, Any], keep: int) -> None:
        """Write a checkpoint and drop all but the last ``keep``."""
        path = self.checkpoints_path / f"{updates:09d}.safetensors"
        content = {**content, "time": time.time(), "saved_with": _surroundings()}
        save_tensors(path, "checkpoint", tensors, content)
        for old in self.checkpoints()[:-keep]:
            old.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the last checkpoint.

        Raises:
            FileError: There is none, or it is damaged.
        """
        paths = self.checkpoints()
        if not paths:
            raise FileError(f"{self.path}: no checkpoint to resume from; begin anew in another folder")
        return load_tensors(paths[-1], "checkpoint")

    def compare(self, content: dict[str, Any]) -> None:
        """Say so where a checkpoint is continued in other surroundings than it was saved in."""
        saved, now = content.get("saved_with", {}), _surroundings()
        changed = [f"{k} was {saved.get(k)}, is {v}" for k, v in now.items() if saved.get(k) != v]
        if changed:
            _LOGGER.warning(
                "%s: the last bits may differ from those of a run in one go: %s",
                self.path,
                ", ".join(changed),
            )

    def sweep(self) -> None:
        """Remove what a killed process left half written."""
        for aside in [*self.path.rglob(".*.tmp"), *self.path.rglob(".*.part")]:
            aside.unlink(missing_ok=True)


def _surroundings() -> dict[str, Any]:
    """Return what the last bits of float sums depend on, besides the run itself."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads()}
