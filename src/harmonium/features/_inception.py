"""The features of the Inception network that FID is defined by, where a user brings them.

Its weights are not part of this library, and it never fetches them. They come from a TorchScript file,
which takes images of bytes and ``return_features=True``; or from the package ``torch-fidelity``, where that
is installed, which fetches them itself the first time.
"""

from __future__ import annotations

__all__ = ["Inception"]

import warnings
from hashlib import file_digest
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, FileError, show
from ._classifier import digest_of
from ._images import Images

NAME, LAYER = "inception-v3-compat", "2048"


class Inception:
    """Opens the network.

    A TorchScript file is a program, which is why its checksum has to be given as well.

    Arguments:
        weights: A TorchScript file; None to take the network of ``torch-fidelity``.
        sha256: The checksum of the file.

    Raises:
        ArgumentError: There is a file without a checksum, or neither a file nor the package.
        FileError: The file is missing, has another checksum, or is no TorchScript.
    """

    def __init__(self, weights: str | Path | None = None, sha256: str | None = None) -> None:
        if weights is None:
            self.network, self.about = _of_package()
            return
        if sha256 is None:
            raise ArgumentError("sha256: got None, expected the checksum of the weights")
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileError(f"weights: there is no file {path}")
        with path.open("rb") as file:
            got = file_digest(file, "sha256").hexdigest()
        if got != sha256.lower():
            raise FileError(f"{path}: its SHA-256 checksum is {got}, expected {sha256.lower()}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                network = torch.jit.load(path, map_location="cpu").eval()
            except RuntimeError as error:
                raise FileError(f"{path}: got no TorchScript file ({show(str(error))})") from error
        self.network = lambda images: network(images, return_features=True)
        self.about = f"{path.name}, SHA-256 {got}"

    def features(self, images: Images) -> Tensor:
        """Return the features of images, rounded to bytes and in three channels, shape (images, 2048).

        Raises:
            DataError: They have two channels, or four.
        """
        if images.shape[0] not in (1, 3):
            raise DataError(f"images: got {images.shape[0]} channels, expected 1 or 3 for Inception")
        return images.map(lambda x: self.network(_as_bytes(x)))


def _of_package() -> tuple[Any, str]:
    try:
        fidelity = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ModuleNotFoundError as error:
        raise ArgumentError(
            "weights: got None, expected the path of a TorchScript file of Inception, "
            "or the package torch-fidelity to be installed"
        ) from error
    network = fidelity.FeatureExtractorInceptionV3(NAME, [LAYER]).eval()
    return lambda images: network(images)[0], f"torch-fidelity, {NAME}, weights {digest_of(network)}"


def _as_bytes(images: Tensor) -> Tensor:
    pixels = (255 * images).round().to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels
