"""One image: decoded, cropped about its centre, resized, in grey or in colour."""

from __future__ import annotations

__all__ = ["BROKEN", "decode"]

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from ..errors import DataError

MODES = {
    1: ("1", "L", "LA"),
    3: ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"),
}
TARGETS = {1: "L", 3: "RGB"}
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are broken."""

_ODD = (TypeError, AttributeError, LookupError, ArithmeticError)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by the orientation that EXIF tells."""


def decode(source: Path | BytesIO, where: str, size: int | None, channels: int | None) -> NDArray[np.uint8]:
    """Return the pixels of an image, shape (height, width) or (3, height, width).

    Arguments:
        source: Its file.
        where: What errors call it.
        size: The side of the square to which it is cropped and resized; None to leave it as it is.
        channels: 1 to turn colour into grey, 3 to take grey as colour; None for what it is.

    Raises:
        DataError: Bytes cannot hold it without a loss.
    """
    with _reading(), Image.open(source) as file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":
            raise DataError(f"{where}: got {frames} frames, expected one")
        file.load()
        turn = _TURNS.get(_orientation(file))
        image = file.copy() if turn is None else file.transpose(turn)
    own = next((n for n, modes in MODES.items() if image.mode in modes), None)
    if own is None:
        raise DataError(f"{where}: got pixels of mode {image.mode}, expected 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] != 255:
            raise DataError(f"{where}: got transparent pixels, expected none; lay it on a background first")
    image = image.convert(TARGETS[channels or own])
    pixels: NDArray[Any] = np.asarray(image if size is None else _square(image, size))
    return pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@contextmanager
def _reading() -> Iterator[None]:
    """Turn what Pillow's readers stumble over in odd files into the error of a broken one."""
    try:
        yield
    except _ODD as error:
        raise OSError(f"its bytes are no such image: {error}") from error


def _orientation(file: Image.Image) -> int:
    """Return how a camera was held, 0 if nothing tells; odd notes beside good pixels tell nothing."""
    with suppress(*BROKEN, *_ODD):
        return int(file.getexif().get(ExifTags.Base.Orientation, 0))
    return 0


def _square(image: Image.Image, size: int) -> Image.Image:
    """Return the largest square about the centre, resized with antialiasing."""
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
