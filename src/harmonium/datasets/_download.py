"""Finding the files of named sets on this machine, and fetching them where they may be fetched.

A download is streamed to a temporary name beside its goal, synchronised to the disk, compared with
the SHA-256 checksum of the uncompressed content (mirrors compress differently; of an archive, which
they do not, that of the file itself) and renamed.
Whatever happens on the way, the cache never holds half a file or a wrong one.
"""

from __future__ import annotations

__all__ = ["CHECKSUMS", "MIRRORS", "cache_folder", "find"]

import gzip
import hashlib
import os
import secrets
import zlib
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..errors import FileError

TIMEOUT = 30.0
LIMIT = 1 << 28
CHUNK = 1 << 18
USER_AGENT = "harmonium (https://pypi.org/project/harmonium)"

MIRRORS: dict[str, tuple[str, ...]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/",
        "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
    ),
}

CHECKSUMS: dict[str, dict[str, str]] = {
    "mnist": {
        "train-images-idx3-ubyte": ("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        "train-labels-idx1-ubyte": ("65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        "t10k-images-idx3-ubyte": ("0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        "t10k-labels-idx1-ubyte": ("ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": ("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        "train-labels-idx1-ubyte": ("bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        "t10k-images-idx3-ubyte": ("5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        "t10k-labels-idx1-ubyte": ("0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    },
    "cifar10": {
        "cifar-10-binary.tar.gz": ("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    },
}


def find(
    folder: str, names: Sequence[str], root: Path | None, others: Sequence[Sequence[str]] = ()
) -> list[Path]:
    """Return the paths of files of a named set, after a download if need be.

    Arguments:
        folder: The set's folder, such as ``mnist``.
        names: The files' names; each may also end in ``.gz``.
        root: Where to look first.
        others: Other names of the same content, any of which will do instead, the first that is there.

    Raises:
        FileError: The files are nowhere, a folder holds only some of them, or no mirror has them.
    """
    for base in _bases(root):
        found, missing = _look(base / folder, [*others, names])
        if found:
            return found
        if missing:
            raise FileError(f"{base / folder}: got only some files, missing {', '.join(missing)}")
    cache = cache_folder() / folder
    found, _ = _look(cache, [*others, names])
    return found or [_existing(cache / name) or _fetch(folder, name, cache, root) for name in names]


def _look(folder: Path, choices: Sequence[Sequence[str]]) -> tuple[list[Path], list[str]]:
    """Return the files of the first choice that is whole; if there is none, what the first part lacks."""
    missing: list[str] = []
    for names in choices:
        paths = [_existing(folder / name) for name in names]
        found = [path for path in paths if path]
        if len(found) == len(names):
            return found, []
        if found and not missing:
            missing = [name for name, path in zip(names, paths, strict=True) if not path]
    return [], missing


def _bases(root: Path | None) -> list[Path]:
    """Return the folders to look in before the cache."""
    if root is not None and not root.is_dir():
        raise FileError(f"root: there is no folder {root}")
    data = os.environ.get("HARMONIUM_DATA")
    return [*([root] if root else []), *([Path(data).expanduser()] if data else [])]


def cache_folder() -> Path:
    """Return the folder of what can be fetched or made again."""
    return Path(os.environ.get("HARMONIUM_CACHE") or "~/.cache/harmonium").expanduser()


def _existing(path: Path) -> Path | None:
    """Return the path or its gzipped twin, whichever is a file."""
    twin = path.with_name(path.name + ".gz")
    return next((p for p in (path, twin) if p.is_file()), None)


def _fetch(folder: str, name: str, cache: Path, root: Path | None) -> Path:
    """Download one file, gzipped where it is no archive, from the first mirror that has it right."""
    failures = []
    checksum = CHECKSUMS.get(folder, {}).get(name, "")
    for mirror in MIRRORS[folder] if checksum else ():
        zipped = name if name.endswith(".gz") else f"{name}.gz"
        url = f"{mirror.rstrip('/')}/{zipped}"
        try:
            return _download(url, cache / zipped, checksum, whole=zipped == name)
        except (OSError, EOFError, zlib.error, HTTPException, ValueError) as error:
            if isinstance(error, HTTPError):
                error.close()
            failures.append(f"{url} ({error})")
    looked = ", ".join(str(base / folder) for base in (*_bases(root), cache_folder()))
    tried = f"; tried to download {' and '.join(failures)}" if failures else ""
    raise FileError(
        f"{folder}/{name}: not found in {looked}{tried}; put the set's files into {cache} by "
        f"hand, or point root or HARMONIUM_DATA at the folder that holds {folder}/"
    )


def _download(url: str, goal: Path, checksum: str, whole: bool) -> Path:
    """Download a gzipped file, whole or not at all.

    Arguments:
        url: Its address.
        goal: Where to put it.
        checksum: The SHA-256 checksum.
        whole: Whether that is of the file itself, or else of its uncompressed content.

    Raises:
        OSError: The network or the disk fails.
        ValueError: The content is too long or has another checksum.
    """
    goal.parent.mkdir(parents=True, exist_ok=True)
    part = goal.with_name(f".{goal.name}.{secrets.token_hex(4)}.part")
    try:
        _receive(url, part)
        got = _sha256(part, whole)
        if got != checksum:
            raise ValueError(f"its SHA-256 checksum is {got}, expected {checksum}")
        part.replace(goal)
    finally:
        part.unlink(missing_ok=True)
    return goal


def _receive(url: str, path: Path) -> None:
    """Stream an address to a new file and see it safe on the disk."""
    request = Request(url, headers={"User-Agent": USER_AGENT})
    with urlopen(request, timeout=TIMEOUT) as response, path.open("xb") as file:
        size = 0
        while chunk := response.read(CHUNK):
            size += len(chunk)
            if size > LIMIT:
                raise ValueError(f"longer than {LIMIT} bytes")
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _sha256(path: Path, whole: bool) -> str:
    """Return the checksum of a gzipped file, or of its uncompressed content."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") if whole else gzip.open(path) as stream:
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            if size > LIMIT:
                raise ValueError(f"longer than {LIMIT} bytes when uncompressed")
            digest.update(chunk)
    return digest.hexdigest()
