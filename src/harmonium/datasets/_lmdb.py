"""The album of an LMDB database of images, the form in which LSUN comes.

Each value is an image file, and the keys are in the order of their bytes. Finding all keys means reading
the whole database once, so they are kept in a file beside it: those of ``bedroom_train_lmdb`` in
``bedroom_train_lmdb.keys.npz``, which is made anew when the database has changed, and is done without where
it cannot be written. Images are read one by one, by their key.

A folder is a database if ``data.mdb`` is in it. A folder of such folders that are called as LSUN calls them,
``CLASS_train_lmdb`` and ``CLASS_val_lmdb``, has splits and classes.

LMDB maps files into memory, so that one that was cut short would end the process at some page. Its length is
therefore compared first with that of the pages that it tells of, and its end looked at, which is empty where
a download took its place on the disk and did not come to an end.
"""

from __future__ import annotations

__all__ = ["Database", "is_database", "list_database"]

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any, overload
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from ._album import Album, Picture

FILE = "data.mdb"
NAME = re.compile(r"(?P<label>.+)_(?P<split>train|val|test)_lmdb")
_TAIL = 1 << 20
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def is_database(folder: Path) -> bool:
    """Return whether a folder is a database, or has some in it that are called as LSUN calls them."""
    return (folder / FILE).is_file() or bool(_parts(folder))


@contextmanager
def list_database(folder: Path) -> Iterator[Album]:
    """Yield the album of a database, or of a folder of some; it can be read until the end.

    Raises:
        FileError: A database is damaged or empty, or the package ``lmdb`` is not installed.
    """
    with ExitStack() as stack:
        if (folder / FILE).is_file():
            database = stack.enter_context(Database(folder))
            yield Album({"train": database}, None, str(folder))
            return
        found: dict[str, list[Database]] = {split: [] for split in SPLITS.values()}
        for path, label, split in _parts(folder):
            found[split].append(stack.enter_context(Database(path, label)))
        names = tuple(sorted({database.label or "" for part in found.values() for database in part}))
        splits = {split: _Chain(part) for split, part in found.items() if part}
        if "train" not in splits:
            raise FileError(f"{folder}: got no database for training, expected one called CLASS_train_lmdb")
        yield Album(splits, names if len(names) > 1 else None, str(folder))


class _Pictures(Sequence[Picture], ABC):
    """Abstract sequence of pictures that are opened by their numbers."""

    @abstractmethod
    def at(self, number: int) -> Picture:
        """Return the picture of a number from 0 on.

        Raises:
            IndexError: There is none.
        """

    @overload
    def __getitem__(self, number: int) -> Picture: ...

    @overload
    def __getitem__(self, number: slice) -> list[Picture]: ...

    def __getitem__(self, number: int | slice) -> Picture | list[Picture]:
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        return self.at(number)


class Database(_Pictures):
    """Opens a database of images, which are its items in the order of their keys.

    Arguments:
        folder: The folder of ``data.mdb``.
        label: The class of all its images.

    Raises:
        FileError: It is damaged or empty, or the package ``lmdb`` is not installed.
    """

    def __init__(self, folder: Path, label: str | None = None) -> None:
        self.folder = folder.resolve() if folder.name in ("", "..") else folder
        self.label = label
        self._lmdb = _package(folder)
        try:
            self._environment = self._lmdb.open(str(folder), readonly=True, lock=False, readahead=False)
        except self._lmdb.Error as error:
            raise FileError(f"{folder}: no LMDB database, or a damaged one ({error})") from error
        try:
            self._check_length()
            self._transaction = self._environment.begin(buffers=True)
            self._text, self._ends = self._index()
        except BaseException:
            self._environment.close()
            raise

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self._transaction.abort()
        self._environment.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def at(self, number: int) -> Picture:
        if not 0 <= number < len(self):
            raise IndexError(number)
        key = self._text[self._ends[number] : self._ends[number + 1]].tobytes()
        where = f"{self.folder}: key {key.decode(errors='backslashreplace')}"
        return Picture(where, self.label, partial(self._read, key, where))

    @property
    def index_path(self) -> Path:
        """Where the keys are kept: beside the database."""
        return self.folder.with_name(f"{self.folder.name}.keys.npz")

    def _read(self, key: bytes, where: str) -> BytesIO:
        try:
            value = self._transaction.get(key)
        except self._lmdb.Error as error:
            raise FileError(f"{where}: the database is damaged ({error})") from error
        if value is None:
            expected = f"what {self.index_path} lists; delete that file if it is of another database"
            raise FileError(f"{where}: it is not in the database, expected {expected}")
        return BytesIO(value)

    def _check_length(self) -> None:
        """Refuse a file that ends before its last page."""
        size = (self.folder / FILE).stat().st_size
        pages, page = self._environment.info()["last_pgno"] + 1, self._environment.stat()["psize"]
        length = pages * page
        if size < length:
            raise FileError(
                f"{self.folder / FILE}: got {size:,} bytes, expected {length:,}; the database is cut short"
            )
        if not self._environment.stat()["entries"]:
            raise FileError(f"{self.folder}: got a database without images, expected at least one")
        tail = min(pages // 4 * page, _TAIL)
        with (self.folder / FILE).open("rb") as file:
            file.seek(length - tail)
            if tail > page and not any(file.read(tail)):
                got = f"nothing but zeros in the last {tail:,} bytes"
                raise FileError(f"{self.folder / FILE}: got {got}; was the download finished?")

    def _index(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return all keys one after the other, and where each of them begins and ends."""
        stamp = self._stamp()
        kept = _kept(self.index_path, stamp)
        if kept is not None:
            return kept
        try:
            with self._transaction.cursor() as cursor:
                keys = [bytes(key) for key in cursor.iternext(keys=True, values=False)]
        except self._lmdb.Error as error:
            raise FileError(f"{self.folder}: the database is damaged ({error})") from error
        text = np.frombuffer(b"".join(keys), np.uint8)
        ends = np.fromiter(accumulate(map(len, keys), initial=0), np.int64, len(keys) + 1)
        with suppress(OSError):
            _keep(self.index_path, {"stamp": stamp, "text": text, "ends": ends})
        return text, ends

    def _stamp(self) -> NDArray[np.int64]:
        """Return numbers that change with the database."""
        info, entries = self._environment.info(), self._environment.stat()["entries"]
        return np.array([entries, info["last_txnid"], info["last_pgno"]], np.int64)


class _Chain(_Pictures):
    """The pictures of several databases, one after the other."""

    def __init__(self, parts: Sequence[Database]) -> None:
        self.parts = parts
        self.ends = list(accumulate(map(len, parts), initial=0))

    def __len__(self) -> int:
        return self.ends[-1]

    def at(self, number: int) -> Picture:
        part = int(np.searchsorted(self.ends, number, "right")) - 1
        return self.parts[part][number - self.ends[part]]


def _parts(folder: Path) -> list[tuple[Path, str, str]]:
    """Return the databases in a folder, each with its class and its split."""
    paths = sorted(path for path in folder.iterdir() if (path / FILE).is_file())
    named = [(path, NAME.fullmatch(path.name)) for path in paths]
    return [(path, match["label"], SPLITS[match["split"]]) for path, match in named if match]


def _package(folder: Path) -> ModuleType:
    try:
        import lmdb
    except ModuleNotFoundError as error:
        told = "which is not installed; pip install 'harmonium[lsun]'"
        raise FileError(f"{folder}: a database like this is read by the package lmdb, {told}") from error
    return lmdb


def _kept(path: Path, stamp: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
    """Return the keys that are in a file, if they are those of a database with this stamp."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            same = np.array_equal(file["stamp"], stamp)
            return (file["text"], file["ends"]) if same else None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _keep(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays into a file, whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
