"""The reader of a folder of images: bytes of shape (height, width) if grey, (3, height, width) if in colour.

All images below the folder are read, in the order of their paths; hidden files are left alone, and so
are files whose name is not one of an image. Sub-folders ``train``, ``validation`` (or ``valid``, ``val``)
and ``test`` are splits. Below them, the first sub-folder of an image is its class, if all are in one.

Images are decoded one by one into the memory of the result, and no image is changed in silence: sizes
that differ, grey beside colour, transparency, deeper pixels and several frames are errors. Only the
orientation that a camera has noted is followed.
"""

from __future__ import annotations

__all__ = ["IMAGES", "read_folder"]

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import DataError, FileError, HarmoniumError
from ._rows import Rows

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
MODES = {
    1: ("1", "L", "LA"),
    3: ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"),
}
TARGETS = {1: "L", 3: "RGB"}
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


class Found(NamedTuple):
    """An image file, and the sub-folder that is its class, if it is in one."""

    path: Path
    label: str | None


def read_folder(folder: Path, size: int | None, channels: int | None, skip_broken: bool) -> Rows:
    """Read all images below a folder.

    Arguments:
        folder: The folder.
        size: The side of the square to which each image is cropped about its centre and resized,
            with antialiasing; None to take the images as they are, which must be of one size.
        channels: 1 to turn colour into grey, 3 to take grey as colour; None for what the files have,
            which must be the same in all.
        skip_broken: Whether files that cannot be decoded are left out, and counted.

    Raises:
        DataError: Images differ where they may not, or cannot be stored as bytes without a loss.
        FileError: A file is broken, or there is no image.
    """
    splits = _arranged(folder, _listed(folder))
    labels = [found.label for part in splits.values() for found in part]
    names = tuple(sorted({label for label in labels if label is not None}))
    codes = {} if None in labels else {name: code for code, name in enumerate(names)}
    reader = _Reader(size, channels, skip_broken)
    parts, marks = {}, {}
    for split, found in splits.items():
        parts[split], kept = reader.read([each.path for each in found])
        if codes:
            marks[split] = np.array([codes[found[i].label or ""] for i in kept])
    return Rows(parts, marks, str(folder), names if codes else None, _note(reader.broken))


class _Reader:
    """Reads images that must be like the first one."""

    def __init__(self, size: int | None, channels: int | None, skip_broken: bool) -> None:
        self.size = size
        self.channels = channels
        self.skip_broken = skip_broken
        self.broken: list[Path] = []
        self.first: tuple[Path, tuple[int, ...]] | None = None

    def read(self, paths: Sequence[Path]) -> tuple[NDArray[np.uint8], list[int]]:
        """Return the pixels of the images, shape (images, ...), and the numbers of their files."""
        pixels, kept = np.empty((0, 0), np.uint8), list[int]()
        for number, path in enumerate(paths):
            image = self._image(path)
            if image is None:
                continue
            if not kept:
                pixels = np.empty((len(paths), *image.shape), np.uint8)
            pixels[len(kept)] = image
            kept.append(number)
        if not kept:
            got = f"{len(paths)} broken images"
            raise FileError(f"{paths[0].parent}: got {got}, expected at least one that is not")
        return pixels[: len(kept)], kept

    def _image(self, path: Path) -> NDArray[np.uint8] | None:
        """Return the pixels of an image, or None if it is left out."""
        try:
            image = _decoded(path, self.size, self.channels)
        except HarmoniumError:
            raise
        except BROKEN as error:
            if not self.skip_broken:
                told = "skip_broken=True leaves broken files out, and counts them"
                raise FileError(f"{path}: cannot be decoded ({error}); {told}") from error
            self.broken.append(path)
            return None
        if self.first is None:
            self.first = path, image.shape
        if image.shape != self.first[1]:
            raise _unlike(path, image.shape, *self.first)
        return image


def _listed(folder: Path) -> list[Path]:
    """Return the images below a folder, relative to it and sorted, without hidden ones."""
    files = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGES and path.is_file())
    inner = (path.relative_to(folder) for path in files)
    shown = (path for path in inner if not any(part.startswith(".") for part in path.parts))
    found = sorted(shown, key=Path.as_posix)
    if not found:
        raise FileError(f"{folder}: got no images, expected files that end in {', '.join(IMAGES)}")
    return found


def _arranged(folder: Path, files: Sequence[Path]) -> dict[str, list[Found]]:
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
        return {split: [_found(folder, path, 1) for path in part] for split, part in inner.items()}
    (top, *others) = tops
    if top and not others and any(len(path.parts) > 2 for path in files):
        return _arranged(folder / top, [path.relative_to(top) for path in files])
    return {"train": [_found(folder, path, 0) for path in files]}


def _found(folder: Path, path: Path, depth: int) -> Found:
    """Return a file with the sub-folder that is its class, at a depth below the folder."""
    return Found(folder / path, path.parts[depth] if len(path.parts) > depth + 1 else None)


def _decoded(path: Path, size: int | None, channels: int | None) -> NDArray[np.uint8]:
    """Return the pixels of a file, shape (height, width) or (3, height, width)."""
    with Image.open(path) as file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":
            raise DataError(f"{path}: got {frames} frames, expected one")
        image = ImageOps.exif_transpose(file)
        image.load()
    own = next((n for n, modes in MODES.items() if image.mode in modes), None)
    if own is None:
        raise DataError(f"{path}: got pixels of mode {image.mode}, expected 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            raise DataError(f"{path}: got transparent pixels, expected none; lay it on a background first")
    image = image.convert(TARGETS[channels or own])
    pixels: NDArray[Any] = np.asarray(image if size is None else _square(image, size))
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _square(image: Image.Image, size: int) -> Image.Image:
    """Return the largest square about the centre, resized with antialiasing."""
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)


def _unlike(path: Path, shape: tuple[int, ...], first: Path, other: tuple[int, ...]) -> DataError:
    """Return the error for an image whose shape is another than that of the first."""
    if len(shape) != len(other):
        kinds = ["in grey" if len(each) == 2 else "in colour" for each in (shape, other)]
        wanted = "channels=1 or channels=3, which turns all into the same"
    else:
        kinds = [f"of {each[-2]} x {each[-1]} pixels" for each in (shape, other)]
        wanted = "size=N, which crops and resizes all to N x N"
    return DataError(f"{path}: got an image {kinds[0]}, but {first} is {kinds[1]}; expected {wanted}")


def _note(broken: Sequence[Path]) -> str:
    """Say how many files were left out."""
    if not broken:
        return ""
    return f" Left out as broken: {len(broken)}, the first {broken[0]}."
