"""Files: written whole or not at all, and checked when read.

A file is written beside its place under a temporary name, synced and renamed, so that a crash leaves
the old one or the new one. Tensors go into safetensors files whose metadata hold, under one key, a
format version, JSON content and a SHA-256 over both; nothing is ever unpickled. The same tensors and
content make the same bytes.
"""

from __future__ import annotations

__all__ = [
    "VERSION",
    "check_version",
    "load_tensors",
    "read_json",
    "replacing",
    "save_tensors",
    "to_json",
    "write_bytes",
    "write_json",
]

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import FileError, invalid, show

VERSION = 1
_KEY = "harmonium"


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file to write, which replaces what is at ``path`` in one step at the end, if all went well.

    Raises:
        FileError: The folder cannot be written.
    """
    path = Path(path)
    if not path.name:
        raise FileError(f"path: got {str(path)!r}, expected the name of a file")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FileError(f"{path}: cannot be written ({error.strerror or error})") from error
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file by ``content`` in one step.

    Raises:
        FileError: The folder cannot be written.
    """
    with replacing(path) as file:
        file.write(content)


def write_json(path: str | Path, content: Any) -> None:
    """Replace a file by the JSON text of ``content`` in one step."""
    write_bytes(path, to_json(content))


def to_json(content: Any) -> bytes:
    """Return the JSON text of ``content``; what JSON does not know is written as its string.

    Raises:
        ArgumentError: There is a number that is not finite, or a loop.
    """
    try:
        text = json.dumps(content, indent=2, allow_nan=False, default=str)
    except (TypeError, ValueError) as error:
        raise invalid("config", content, f"what JSON can hold ({error})") from error
    return text.encode() + b"\n"


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        FileError: The file is missing or holds something else.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: missing or damaged, expected a JSON object ({error})") from error
    if not isinstance(content, dict):
        raise FileError(f"{path}: got a JSON {type(content).__name__}, expected an object")
    return content


def save_tensors(path: str | Path, kind: str, tensors: dict[str, Tensor], content: Any) -> None:
    """Write tensors and JSON content to a safetensors file with a checksum.

    Arguments:
        path: The file.
        kind: What the file is, checked on loading: "model", "checkpoint".
        tensors: The tensors by name.
        content: Anything that JSON can hold.

    Raises:
        FileError: The folder cannot be written, or JSON cannot hold ``content``.
    """
    tensors = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}
    try:
        text = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: cannot be written ({error})") from error
    head = {
        "format": f"harmonium {kind}",
        "version": VERSION,
        "sha256": _digest(tensors, text),
        "content": content,
    }
    write_bytes(path, safetensors.torch.save(tensors, {_KEY: json.dumps(head)}))


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], Any]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        FileError: The file is missing, damaged, of another kind, or of a newer version.
    """
    path = Path(path)
    if path.is_dir():
        raise FileError(f"{path}: got a folder, expected a file such as {path / 'model.safetensors'}")
    if not path.is_file():
        raise FileError(f"{path}: no such file, expected a harmonium {kind}")
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: truncated or not a safetensors file ({error})") from error
    if not isinstance(head, dict) or head.get("format") != f"harmonium {kind}":
        got = show(head.get("format") if isinstance(head, dict) else head)
        raise FileError(f"{path}: got {got}, expected 'harmonium {kind}'")
    check_version(path, head.get("version"))
    content = head.get("content")
    if _digest(tensors, json.dumps(content)) != head.get("sha256"):
        raise FileError(f"{path}: its checksum does not match its content; the file was altered")
    return tensors, content


def check_version(path: Path, version: object) -> None:
    """Refuse a file whose format version is not one that this library reads.

    Raises:
        FileError: The version is newer, or none.
    """
    number = str(version)
    if not (number.isascii() and number.isdecimal() and int(number) > 0):
        raise FileError(f"{path}: got format version {show(version)}, expected a positive number")
    if int(number) > VERSION:
        raise FileError(
            f"{path}: written in format {number}, this harmonium reads up to {VERSION}; update harmonium"
        )


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
