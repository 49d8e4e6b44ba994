"""Files: written whole or not at all, and checked when read.

A file is written beside its place under a temporary name, synced and renamed, so that a crash leaves
the old one or the new one. Tensors go into safetensors files whose metadata hold a format version,
JSON content and a SHA-256 over both; nothing is ever unpickled.
"""

from __future__ import annotations

__all__ = ["load_tensors", "read_json", "save_tensors", "write_bytes", "write_json"]

import json
import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import FileError

VERSION = 1


def write_bytes(path: str | Path, content: bytes) -> None:
    """Replace a file by ``content`` in one step.

    Raises:
        FileError: The folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise FileError(f"{path}: cannot be written ({error.strerror})") from error


def write_json(path: str | Path, content: Any) -> None:
    """Replace a file by the JSON text of ``content`` in one step."""
    text = json.dumps(content, indent=2, allow_nan=False, default=str)
    write_bytes(path, text.encode() + b"\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        FileError: The file is missing or holds something else.
    """
    try:
        content = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
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
    """
    tensors = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}
    text = json.dumps(content, allow_nan=False)
    metadata = {
        "format": f"harmonium {kind}",
        "version": str(VERSION),
        "content": text,
        "sha256": _digest(tensors, text),
    }
    write_bytes(path, safetensors.torch.save(tensors, metadata))


def load_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], Any]:
    """Read what :func:`save_tensors` wrote.

    Raises:
        FileError: The file is missing, damaged, of another kind, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file, expected a harmonium {kind}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"{path}: truncated or not a safetensors file ({error})") from error
    if metadata.get("format") != f"harmonium {kind}":
        raise FileError(f"{path}: got {metadata.get('format')!r}, expected 'harmonium {kind}'")
    if int(metadata.get("version", 0)) > VERSION:
        version = metadata["version"]
        raise FileError(
            f"{path}: written in format {version}, this harmonium reads up to {VERSION}; "
            "update harmonium"
        )
    if _digest(tensors, metadata["content"]) != metadata.get("sha256"):
        raise FileError(f"{path}: its checksum does not match its content; the file was altered")
    return tensors, json.loads(metadata["content"])


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
