"""Run folders and checkpoints: a run that was killed goes on bit for bit.

A run is a folder of plain files: ``config.json``, ``metrics.jsonl``, ``checkpoints/`` and, at its end,
``model.safetensors``. A checkpoint holds the model, the averages, the optimisers, the rule's state with
its chains, the streams' steps, the place in the epoch, the log's length and torch's own generator.
"""

from __future__ import annotations

__all__ = ["RunFolder"]

from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import FileError
from ..files import load_tensors, read_json, save_tensors, write_json

VERSION = 1


class RunFolder:
    """Creates the handle of a run folder.

    Arguments:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.log_path = self.path / "metrics.jsonl"
        self.model_path = self.path / "model.safetensors"
        self.samples_path = self.path / "samples"
        self.checkpoints_path = self.path / "checkpoints"

    def create(self, config: dict[str, Any]) -> None:
        """Make the folder and write its configuration.

        Raises:
            FileError: The folder holds something already, or cannot be written.
        """
        try:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                raise FileError(f"out: {self.path} exists already, expected a new or empty folder")
            self.checkpoints_path.mkdir(parents=True)
            self.samples_path.mkdir()
        except OSError as error:
            raise FileError(f"out: {self.path} cannot be written ({error.strerror})") from error
        write_json(self.config_path, {"version": VERSION, **config})

    def config(self) -> dict[str, Any]:
        """Return the configuration.

        Raises:
            FileError: The folder is no run, or of a newer version.
        """
        if not self.config_path.is_file():
            raise FileError(f"{self.path}: no run folder, expected one with a config.json")
        config = read_json(self.config_path)
        if config.get("version", 0) > VERSION:
            raise FileError(
                f"{self.config_path}: written in format {config['version']}, this harmonium reads "
                f"up to {VERSION}; update harmonium"
            )
        return config

    def checkpoints(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(self.checkpoints_path.glob("*.safetensors"))

    def save(self, updates: int, tensors: dict[str, Tensor], content: dict[str, Any], keep: int) -> None:
        """Write a checkpoint and drop all but the last ``keep``."""
        path = self.checkpoints_path / f"{updates:09d}.safetensors"
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
            raise FileError(f"{self.path}: no checkpoint to resume from")
        return load_tensors(paths[-1], "checkpoint")
