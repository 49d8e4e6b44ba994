"""The reader of CIFAR-10 in its binary form: six files of records, as they are or in their archive.

A record is one byte for the label and 3 x 32 x 32 bytes for the pixels: the red channel line by line,
then green, then blue, which is the order of a row of a data set. The archive is read through, never
unpacked. The other form of the set, which is made of pickles, is not read.
"""

from __future__ import annotations

__all__ = ["ARCHIVE", "BATCHES", "CLASSES", "SHAPE", "read_cifar"]

import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from ._files import read_bytes
from ._rows import Rows

ARCHIVE = "cifar-10-binary.tar.gz"
BATCHES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)


def read_cifar(paths: Sequence[Path]) -> Rows:
    """Read the training and the test images, uint8 of shape (rows, 3, 32, 32), and their labels.

    Arguments:
        paths: The archive alone, or the six files in the order of ``BATCHES``, gzipped or not.

    Raises:
        FileError: A file cannot be read, is missing in the archive, or holds something else.
    """
    where = str(paths[0] if len(paths) == 1 else paths[0].parent)
    batches: Iterable[tuple[str, bytes | bytearray]]
    batches = _in_archive(paths[0]) if len(paths) == 1 else _in_files(paths)
    found: set[str] = set()
    for name, data in batches:
        records = _records(data, f"{where}: {name}")
        if not found:
            pixels = np.empty((len(BATCHES), len(records), prod(SHAPE)), np.uint8)
            labels = np.empty((len(BATCHES), len(records)), np.uint8)
        if len(records) != pixels.shape[1]:
            got = f"{len(records)} images in {name}"
            raise FileError(f"{where}: got {got}, expected {pixels.shape[1]} as in the others")
        number = BATCHES.index(name)
        labels[number], pixels[number] = records[:, 0], records[:, 1:]
        found.add(name)
    missing = [name for name in BATCHES if name not in found]
    if missing:
        raise FileError(f"{where}: got an archive without {', '.join(missing)}")
    parts = {"train": pixels[:-1].reshape(-1, *SHAPE), "test": pixels[-1].reshape(-1, *SHAPE).copy()}
    return Rows(parts, {"train": labels[:-1].ravel(), "test": labels[-1]}, where, CLASSES)


def _in_files(paths: Sequence[Path]) -> Iterator[tuple[str, bytearray]]:
    """Yield the names and the contents of the batches."""
    for name, path in zip(BATCHES, paths, strict=True):
        yield name, read_bytes(path)


def _in_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the names and the contents of the batches in an archive, in its order."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                stream = archive.extractfile(member) if name in BATCHES and member.isfile() else None
                if stream is not None:
                    yield name, stream.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise FileError(f"{path}: cannot be read, it may be damaged or cut short: {error}") from error


def _records(data: bytes | bytearray, where: str) -> NDArray[Any]:
    """Return the records of a batch, shape (rows, 1 + pixels)."""
    length = 1 + prod(SHAPE)
    if not data or len(data) % length:
        raise FileError(f"{where}: got {len(data)} bytes, expected records of {length}")
    records = np.frombuffer(data, np.uint8).reshape(-1, length)
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if len(wrong):
        got = records[wrong[0], 0]
        raise FileError(f"{where}: got label {got} in record {wrong[0]} (from 0), expected 0 to 9")
    return records
