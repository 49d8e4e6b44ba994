"""Files that grow block by block, and can be gone on with."""

from __future__ import annotations

__all__ = ["Made", "Output", "Progress", "check_places", "schema_of", "stream", "told_of"]

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from ..datasets import Block, Form, Schema, read_blocks
from ..errors import ArgumentError, DataError, FileError, invalid, show
from ..files import read_json, to_json, write_json
from ..models import PairwiseModel, check_model

Progress = Callable[[int, float], None]
"""Called after each block with the number of rows done and the share of the file that has been read."""
_VERSION = 2
_ENDS = 1 << 20
_SUFFIXES = (".csv", ".tsv")


class Made(NamedTuple):
    """What a block of rows comes to."""

    parts: list[bytes]
    """What goes to the end of each file."""
    sums: dict[str, float]
    """What is added up over blocks."""


class Output:
    """Creates files that are written by blocks of rows.

    A file ``x.csv`` grows as ``x.csv.partial``. Beside the first one ``x.csv.partial.json`` tells how many
    rows and bytes are done, and of what; a new output of the same goes on from there, also where lines of a
    table of text that were not read yet are other ones now.

    Arguments:
        paths: The files to be.
        about: What they are made of, as JSON values: the table, the model, the settings.
        heads: What each begins with.
        force: Whether files that are there, done or partial, may be overwritten.
        form: How the table is written.

    Raises:
        FileError: A file is there already, or what is there is of something else.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        about: dict[str, Any],
        heads: Sequence[bytes],
        force: bool,
        form: Form,
    ) -> None:
        self.paths = list(paths)
        self.partial = [path.with_name(f"{path.name}.partial") for path in paths]
        self.note = self.partial[0].with_name(f"{self.partial[0].name}.json")
        check_places(self.paths, force)
        self.state: dict[str, Any] = {"version": _VERSION, "about": about, "rows": 0, "sums": {}, "kept": {}}
        self.state |= {"prefix": _chain([form.head], ""), "block": 0}
        self.heads, self.form = list(heads), form
        self.files: list[BinaryIO] = []
        if self.note.is_file() and not force:
            self._go_on(about)
        else:
            self._begin()

    @property
    def rows(self) -> int:
        """How many rows are done."""
        return int(self.state["rows"])

    @property
    def sums(self) -> dict[str, float]:
        """What was added up over rows."""
        return dict(self.state["sums"])

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a value, as JSON has it, that is made once and then kept with the partial files."""
        if name not in self.state["kept"]:
            self.state["kept"][name] = make()
            self._note()
        return self.state["kept"][name]

    def write(self, made: Made, block: Block) -> None:
        """Write what a block of rows came to, then how far it has gone."""
        for file, part in zip(self.files, made.parts, strict=True):
            file.write(part)
            file.flush()
            os.fsync(file.fileno())
        sums = self.state["sums"]
        self.state["sums"] = {name: sums.get(name, 0.0) + value for name, value in made.sums.items()}
        rows = len(next(iter(block.table.values())))
        self.state["block"] = self.state["block"] or rows
        self.state["rows"] += rows
        self.state["prefix"] = _chain(block.lines, self.state["prefix"])
        self._note()

    def finish(self) -> None:
        """Give the files their names."""
        self.close()
        for partial, path in zip(self.partial, self.paths, strict=True):
            partial.replace(path)
        self.note.unlink()

    def close(self) -> None:
        """Close the files as they are."""
        for file in self.files:
            file.close()

    def _begin(self) -> None:
        try:
            self.files = [partial.open("wb") for partial in self.partial]
        except OSError as error:
            raise FileError(f"{self.partial[0]}: cannot be written ({error.strerror or error})") from error
        for file, head in zip(self.files, self.heads, strict=True):
            file.write(head)
            file.flush()
        self._note()

    def _go_on(self, about: dict[str, Any]) -> None:
        """Take on what an earlier output left.

        Raises:
            FileError: It is of something else, or damaged.
        """
        state = read_json(self.note)
        before, remedy = state.get("about"), f"force (--force) overwrites it, or remove {self.note}"
        if state.get("version") != _VERSION or not isinstance(before, dict):
            raise FileError(f"{self.note}: tells of no partial file that this harmonium knows; {remedy}")
        others = [name for name in {**about, **before} if about.get(name) != before.get(name)]
        if others and state.get("rows") == 0:
            self._begin()
            return
        if others == ["table"] and self._begins_alike(state):
            state["about"] = about
        elif others:
            raise FileError(
                f"{self.partial[0]}: is there already, and was begun with another {', '.join(others)} than "
                f"now; {remedy}"
            )
        self.state = state
        for partial, size in zip(self.partial, state["bytes"], strict=True):
            if not partial.is_file() or partial.stat().st_size < size:
                raise FileError(f"{partial}: missing or cut short, expected {size} bytes; {remedy}")
        self.files = [partial.open("r+b") for partial in self.partial]
        for file, size in zip(self.files, state["bytes"], strict=True):
            file.truncate(size)
            file.seek(size)

    def _begins_alike(self, state: dict[str, Any]) -> bool:
        """Return whether the rows that are done are still the table's first ones, and fill whole blocks."""
        rows, seen, done = int(state["rows"]), 0, _chain([self.form.head], "")
        if not self.form.is_text or rows % state["block"]:
            return False
        for block in read_blocks(self.form.path, delimiter=self.form.delimiter):
            lines = block.lines[: rows - seen]
            seen, done = seen + len(lines), _chain(lines, done)
            if seen == rows:
                return bool(done == state["prefix"])
        return False

    def _note(self) -> None:
        self.state["bytes"] = [file.tell() for file in self.files]
        write_json(self.note, self.state)


def stream(output: Output, rows: int, make: Callable[[Block], Made], progress: Progress | None) -> int:
    """Write what is made of each block of a table from where the output is, and return the number of rows.

    Raises:
        DataError: A row does not fit, or there is none; with what is kept of those before it.
        FileError: The table cannot be read on, likewise.
    """
    form = output.form
    try:
        for block in read_blocks(form.path, rows=rows, first=output.rows, delimiter=form.delimiter or None):
            output.write(make(block), block)
            if progress is not None:
                progress(output.rows, block.share)
    except (DataError, FileError) as error:
        if not (output.rows and form.is_text):
            raise
        kept = f"{output.rows:,} rows before it are done and kept in {output.partial[0]}"
        told = f"{error}; {kept}: once it is mended, the same command goes on from there"
        raise type(error)(told) from error
    return output.rows


def _chain(lines: Iterable[str], before: str) -> str:
    """Return what tells lines, behind those that led to ``before``, from all others."""
    for line in lines:
        before = blake2b((before + line).encode(), digest_size=16).hexdigest()
    return before


def check_places(paths: Sequence[Path], force: bool, table: Path | None = None) -> None:
    """Refuse files that cannot be written, or are there already.

    Arguments:
        paths: The files.
        force: Whether they may be there.
        table: What is read meanwhile, and may be none of them.

    Raises:
        ArgumentError: A file has another ending, the same file comes twice, or it is the table.
        FileError: It is there, or its folder is not.
    """
    if len({path.absolute() for path in paths}) < len(paths):
        raise ArgumentError(f"out: got {show(str(paths[0]))} twice, expected files of different names")
    for path in paths:
        if path.suffix.lower() not in _SUFFIXES:
            raise invalid("out", str(path), f"a name that ends in {' or '.join(_SUFFIXES)}")
        if not path.parent.is_dir() or path.is_dir():
            raise FileError(f"out: {path} cannot be written, expected a file in a folder that is there")
        if table is not None and path.exists() and path.samefile(table):
            raise invalid("out", str(path), "another file than the table")
        if path.exists() and not force:
            raise FileError(f"out: {path} is there already; force (--force) overwrites it")


def schema_of(model: PairwiseModel) -> Schema:
    """Return the schema of a model of tables.

    Raises:
        ArgumentTypeError: It is no model with an energy.
        ArgumentError: It was trained on no table.
    """
    check_model(model, PairwiseModel)
    if model.schema is None:
        expected = (
            "one that was trained on a table, whose schema it keeps, as a file with names of columns is by "
            "table=True (--set data.table=true)"
        )
        raise ArgumentError(f"model: got a model of kind {model.kind} without a schema, expected {expected}")
    return model.schema


def told_of(table: Path, model: PairwiseModel, what: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what an output is made of, as JSON values."""
    digest = sha256(to_json({"model": model.config(), "schema": schema_of(model).config()}))
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {"work": what, "table": _fingerprint(table), "model": digest.hexdigest(), "settings": settings}


def _fingerprint(path: Path) -> dict[str, Any]:
    """Return what tells a file from others and from itself once it has changed: its size, time and ends."""
    about = path.stat()
    digest = sha256()
    with path.open("rb") as file:
        digest.update(file.read(_ENDS))
        with suppress(OSError):
            file.seek(-min(_ENDS, about.st_size), os.SEEK_END)
        digest.update(file.read())
    return {"size": about.st_size, "mtime_ns": about.st_mtime_ns, "ends": digest.hexdigest()}
