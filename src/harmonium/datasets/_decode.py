"""One image: decoded, cropped about its centre, resized, in grey or in colour."""

from __future__ import annotations

__all__ = ["BROKEN", "decode"]

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import DataError

MODES = {
    1: ("1", "L", "LA"),
    3: ("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"),
}
TARGETS = {1: "L", 3: "RGB"}
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are broken."""


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
    with Image.open(source) as file:
        frames = getattr(file, "n_frames", 1)
        if frames > 1 and file.format != "MPO":
            raise DataError(f"{where}: got {frames} frames, expected one")
        image = ImageOps.exif_transpose(file)
        image.load()
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


def _square(image: Image.Image, size: int) -> Image.Image:
    """Return the largest square about the centre, resized with antialiasing."""
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
