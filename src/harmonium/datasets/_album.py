"""Images that have been found but not read yet, and how they are read: one by one, all like the first.

An album is a folder of image files or a database of them. It knows the split and the class of each of its
pictures; which of them are read, and whether into memory or into a file, is up to the reader.

No image is changed in silence: sizes that differ, grey beside colour, transparency, deeper pixels and several
frames are errors. Only the orientation that a camera has noted is followed.
"""

from __future__ import annotations

__all__ = ["Album", "Choice", "Look", "Picture", "choose_pictures", "read_album", "read_pictures"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError, FileError, HarmoniumError, check_memory, invalid
from ..random import Stream
from ._decode import BROKEN, decode
from ._rows import Rows, check_positive, refuse


class Picture(NamedTuple):
    """An image that can be read."""

    where: str
    """What errors call it."""
    label: str | None
    """Its class, if it has one."""
    open: Callable[[], Path | BytesIO]


class Album(NamedTuple):
    """Pictures by the name of their split, what their classes are called, and where they are."""

    splits: Mapping[str, Sequence[Picture]]
    names: tuple[str, ...] | None
    where: str


class Choice(NamedTuple):
    """Some of the pictures of a split."""

    pictures: Sequence[Picture]
    numbers: Tensor
    """Which of them, in the order in which they are read."""


class Look(NamedTuple):
    """What images are made to look like, and how many of them are taken.

    Arguments:
        size: The side of the square to which each image is cropped about its centre and resized, with
            antialiasing; None to take the images as they are, which must be of one size.
        channels: 1 to turn colour into grey, 3 to take grey as colour; None for what the files have,
            which must be the same in all.
        skip_broken: Whether images that cannot be decoded are left out, and counted.
        limit: How many images of each split are taken at most, chosen by the seed; None for all.
    """

    size: int | None = None
    channels: int | None = None
    skip_broken: bool = False
    limit: int | None = None

    def check(self) -> None:
        """Refuse settings that fit no images, before any work.

        Raises:
            ArgumentError: One is out of range.
        """
        check_positive("size", self.size)
        check_positive("limit", self.limit)
        if self.channels not in (None, 1, 3) or isinstance(self.channels, bool):
            raise invalid("channels", self.channels, "1, 3 or None")
        if not isinstance(self.skip_broken, bool):
            raise invalid("skip_broken", self.skip_broken, "True or False")

    def refuse(self, expected: str) -> None:
        """Refuse settings of images where there are none.

        Raises:
            ArgumentError: There are some.
        """
        refuse({**self._asdict(), "skip_broken": self.skip_broken or None}, expected)


def read_album(album: Album, look: Look, seed: int) -> Rows:
    """Read the pictures of an album into memory.

    Arguments:
        album: The album.
        look: What images are made to look like, and how many.
        seed: Which ones are taken where there is a limit.

    Raises:
        ArgumentError: The memory does not suffice.
        DataError: Images differ where they may not, or cannot be stored as bytes without a loss.
        FileError: An image is broken.
    """
    stores: dict[str, _Memory] = {}

    def keep(split: str, count: int) -> Callable[[NDArray[np.uint8]], None]:
        stores[split] = _Memory(count)
        return stores[split].add

    labels, note = read_pictures(album, look, choose_pictures(album, look.limit, seed), keep)
    parts = {split: store.rows for split, store in stores.items()}
    return Rows(parts, labels, album.where, album.names, note)


def choose_pictures(album: Album, limit: int | None, seed: int) -> dict[str, Choice]:
    """Return the pictures of each split that are taken, in their order."""
    stream = Stream(seed).child("limit")
    return {
        split: Choice(pictures, _some(len(pictures), limit, stream.child(split)))
        for split, pictures in album.splits.items()
    }


def read_pictures(
    album: Album,
    look: Look,
    choices: Mapping[str, Choice],
    keep: Callable[[str, int], Callable[[NDArray[np.uint8]], None]],
) -> tuple[dict[str, NDArray[np.int64]], str]:
    """Read pictures split by split, and hand each image to what keeps those of its split.

    Arguments:
        album: The album.
        look: What images are made to look like.
        choices: The pictures to read, by the name of the split.
        keep: Returns what an image is handed to, given a split and the most that there can be.

    Returns:
        The codes of the classes by split, if there are some, and how many pictures were left out, in words.
    """
    reader = _Reader(album.where, look)
    codes = {name: code for code, name in enumerate(album.names or ())}
    labels = {}
    for split, (pictures, numbers) in choices.items():
        chosen = (pictures[i] for i in numbers.tolist())
        kept = reader.read(chosen, keep(split, len(numbers)))
        if codes:
            labels[split] = np.array([codes[label or ""] for label in kept])
    return labels, reader.note


def _some(count: int, limit: int | None, stream: Stream) -> Tensor:
    """Return the numbers of at most ``limit`` things, in their order."""
    if limit is None or limit >= count:
        return torch.arange(count)
    return stream.permutation(count)[:limit].sort().values


class _Memory:
    """Keeps images in one array, of which the first one tells the shape."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.used = 0
        self.pixels = np.empty((0, 0), np.uint8)

    def add(self, image: NDArray[np.uint8]) -> None:
        """Keep an image."""
        if not self.used:
            check_memory("limit", self.count, self.count * image.size // 4)
            self.pixels = np.empty((self.count, *image.shape), np.uint8)
        self.pixels[self.used] = image
        self.used += 1

    @property
    def rows(self) -> NDArray[np.uint8]:
        """The images, shape (images, ...)."""
        return self.pixels[: self.used]


class _Reader:
    """Reads images that must be like the first one."""

    def __init__(self, where: str, look: Look) -> None:
        self.where = where
        self.look = look
        self.broken: list[str] = []
        self.first: tuple[str, tuple[int, ...]] | None = None

    @property
    def note(self) -> str:
        """How many pictures were left out, in words."""
        return f" Left out as broken: {len(self.broken)}, the first {self.broken[0]}." if self.broken else ""

    def read(
        self, pictures: Iterable[Picture], keep: Callable[[NDArray[np.uint8]], None]
    ) -> list[str | None]:
        """Hand on the pixels of pictures, and return the classes of those that are not broken."""
        labels, before = [], len(self.broken)
        for picture in pictures:
            image = self._image(picture)
            if image is not None:
                keep(image)
                labels.append(picture.label)
        if not labels:
            got = f"{len(self.broken) - before} broken images"
            raise FileError(f"{self.where}: got {got}, expected at least one that is not")
        return labels

    def _image(self, picture: Picture) -> NDArray[np.uint8] | None:
        """Return the pixels of a picture, or None if it is left out."""
        try:
            image = decode(picture.open(), picture.where, self.look.size, self.look.channels)
        except HarmoniumError:
            raise
        except BROKEN as error:
            if not self.look.skip_broken:
                told = "skip_broken=True leaves broken images out, and counts them"
                raise FileError(f"{picture.where}: cannot be decoded ({error}); {told}") from error
            self.broken.append(picture.where)
            return None
        if self.first is None:
            self.first = picture.where, image.shape
        if image.shape != self.first[1]:
            raise _unlike(picture.where, image.shape, *self.first)
        return image


def _unlike(where: str, shape: tuple[int, ...], first: str, other: tuple[int, ...]) -> DataError:
    """Return the error for an image whose shape is another than that of the first."""
    if len(shape) != len(other):
        kinds = ["in grey" if len(each) == 2 else "in colour" for each in (shape, other)]
        wanted = "channels=1 or channels=3, which turns all into the same"
    else:
        kinds = [f"of {each[-2]} x {each[-1]} pixels" for each in (shape, other)]
        wanted = "size=N, which crops and resizes all to N x N"
    return DataError(f"{where}: got an image {kinds[0]}, but {first} is {kinds[1]}; expected {wanted}")
