"""Images decoded once into arrays on the disk, which are mapped into memory from then on.

What :func:`pack` makes of a folder or a database is a folder of ``.npy`` files, named like the keys of an
``.npz`` file: ``x_train.npy`` and so on, one byte a pixel, and labels beside them.
:func:`harmonium.datasets.load` maps them: rows come from the disk when they are asked for, and take no more
memory than the system has to spare. They are the rows that ``load`` makes of the images themselves, in the
same order, if none is broken.
"""

from __future__ import annotations

__all__ = ["is_packed", "pack", "read_packed"]

import json
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileError
from ._album import Album, Choice, Look, choose_pictures, read_pictures
from ._albums import open_album
from ._appended import Appended
from ._files import KEYS, plain
from ._rows import TENTH, Rows, Size, check_size, refuse, shares

SHORT = {"train": "train", "validation": "valid", "test": "test"}
ABOUT = "about.json"


def pack(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int | None = None,
    channels: int | None = None,
    skip_broken: bool = False,
    limit: int | None = None,
    validation: Size | None = None,
    test: Size | None = None,
    seed: int = 0,
) -> Path:
    """Decode images into a new folder of arrays, from which :func:`load` maps them into memory.

    Arguments:
        source: A folder of images, or an LMDB database.
        out: The new folder.
        size: See :func:`load`, as for all that follow.
        channels: 1 or 3.
        skip_broken: Whether images that cannot be decoded are left out.
        limit: How many images of each split to take at most.
        validation: The size of the validation split, if the source has none.
        test: The size of the test split, if the source has none.
        seed: Of the splits, and of the choice of images.

    Returns:
        The folder.

    Raises:
        ArgumentError: A setting is out of range.
        DataError: Images differ where they may not.
        FileError: There is something at ``out``, or an image is broken.
    """
    look = Look(size, channels, skip_broken, limit)
    look.check()
    sizes = {"validation": validation, "test": test}
    for name, value in sizes.items():
        check_size(name, value)
    folder, goal = Path(source).expanduser(), Path(out).expanduser()
    if goal.exists():
        raise FileError(f"out: there is something at {goal} already, expected a new folder")
    if not folder.is_dir():
        raise FileError(f"{folder}: there is no such folder, expected one of images, or an LMDB database")
    part = goal.with_name(f".{goal.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        with open_album(folder) as album:
            _pack(album, look, {k: v for k, v in sizes.items() if v is not None}, seed, part)
        part.replace(goal)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return goal


def is_packed(folder: Path) -> bool:
    """Return whether a folder holds arrays."""
    return (folder / "x_train.npy").is_file()


def read_packed(folder: Path) -> Rows:
    """Map the arrays in a folder into memory; what is written to them stays there.

    Raises:
        FileError: An array is damaged.
    """
    arrays = {}
    for path in sorted(folder.glob("*.npy")):
        if path.stem in KEYS:
            with plain(str(path)):
                arrays[path.stem] = np.load(path, mmap_mode="c", allow_pickle=False)
    parts = {KEYS[k]: v for k, v in arrays.items() if k.startswith("x")}
    labels = {KEYS[k]: np.array(v) for k, v in arrays.items() if k.startswith("y")}
    about = _about(folder / ABOUT)
    names, note = about.get("names"), about.get("note", "")
    return Rows(parts, labels, str(folder), tuple(names) if names else None, note, whole=True)


def _pack(album: Album, look: Look, sizes: dict[str, Size], seed: int, out: Path) -> None:
    """Write the arrays of an album into a folder."""
    choices = choose_pictures(album, look.limit, seed)
    sizes = {**{k: v for k, v in TENTH.items() if k not in choices}, **sizes}
    refuse({k: v for k, v in sizes.items() if k in choices}, f"None: {album.where} has that split")
    pictures, numbers = choices["train"]
    parts = shares(len(numbers), sizes, seed, shuffled=True)
    choices |= {split: Choice(pictures, numbers[index]) for split, index in parts.items()}
    choices = {split: choice for split, choice in choices.items() if len(choice.numbers)}
    with ExitStack() as stack:

        def keep(split: str, _: int) -> Callable[[NDArray[np.uint8]], None]:
            return stack.enter_context(Appended(out / f"x_{SHORT[split]}.npy")).add

        labels, note = read_pictures(album, look, choices, keep)
    for split, codes in labels.items():
        np.save(out / f"y_{SHORT[split]}.npy", codes)
    about = {"version": 1, "source": album.where, "names": album.names, "note": note}
    (out / ABOUT).write_text(json.dumps(about, indent=2))


def _about(path: Path) -> dict[str, Any]:
    """Return what there is to say of arrays, as far as it has been written down."""
    try:
        about = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise FileError(f"{path}: damaged, expected a JSON object ({error})") from error
    return about if isinstance(about, dict) else {}
