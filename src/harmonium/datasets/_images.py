"""The album of a folder of images.

All images below the folder are in it, in the order of their paths; hidden files are left alone, and so
are files whose name is not one of an image. Sub-folders ``train``, ``validation`` (or ``valid``, ``val``)
and ``test`` are splits. Below them, the first sub-folder of an image is its class, if all are in one.
"""

from __future__ import annotations

__all__ = ["IMAGES", "list_folder"]

from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import FileError
from ._album import Album, Picture

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


def list_folder(folder: Path) -> Album:
    """Return the album of all images below a folder.

    Raises:
        FileError: There is no image, or some are beside the splits.
    """
    splits = _arranged(folder, _listed(folder))
    labels = {picture.label for part in splits.values() for picture in part}
    names = tuple(sorted(label for label in labels if label is not None))
    return Album(splits, None if None in labels else names, str(folder))


def _listed(folder: Path) -> list[Path]:
    """Return the images below a folder, relative to it and sorted, without hidden ones."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and not path.is_dir())
    inner = (path.relative_to(folder) for path in files)
    shown = (path for path in inner if not any(part.startswith(".") for part in path.parts))
    found = sorted(shown, key=Path.as_posix)
    if not found:
        raise FileError(f"{folder}: got no images, expected files that end in {', '.join(IMAGES)}")
    return found


def _arranged(folder: Path, files: Sequence[Path]) -> dict[str, list[Picture]]:
    """Return the files by their split, with their classes.

    A folder that holds nothing but a sub-folder with sub-folders stands for that.
    """
    tops = {path.parts[0] if len(path.parts) > 1 else "" for path in files}
    if "train" in tops and (tops <= {*FOLDERS} or len(tops & {*FOLDERS}) > 1):
        splits = [FOLDERS.get(top, "") for top in tops]
        if "" in splits or len({*splits}) < len(splits):
            got = ", ".join(sorted(top or "images beside them" for top in tops))
            expected = "train, validation and test alone, or none of them"
            raise FileError(f"{folder}: got {got}; expected {expected}")
        inner = {FOLDERS[top]: [p for p in files if p.parts[0] == top] for top in sorted(tops, reverse=True)}
        return {split: [_picture(folder, path, 1) for path in part] for split, part in inner.items()}
    (top, *others) = tops
    if top and not others and any(len(path.parts) > 2 for path in files):
        return _arranged(folder / top, [path.relative_to(top) for path in files])
    return {"train": [_picture(folder, path, 0) for path in files]}


def _picture(folder: Path, path: Path, depth: int) -> Picture:
    """Return a file with the sub-folder that is its class, at a depth below the folder."""
    label = path.parts[depth] if len(path.parts) > depth + 1 else None
    return Picture(str(folder / path), label, _place(folder / path))


def _place(path: Path) -> Callable[[], Path]:
    return lambda: path
