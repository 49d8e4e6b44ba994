"""Sequences of a model in a FASTA file, each with its score."""

from __future__ import annotations

__all__ = ["SEQUENCES", "scored", "write_fasta"]

import gzip
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..datasets import ALPHABETS
from ..errors import DataError, invalid
from ..files import write_bytes
from ..models import Model, PairwiseModel

SEQUENCES = (".fasta", ".fa", ".fasta.gz", ".fa.gz")


def write_fasta(path: str | Path, codes: Tensor, alphabet: str, names: Sequence[str]) -> None:
    """Write sequences, one to a line under its name; gzipped if the path ends in ``.gz``.

    Arguments:
        path: The file; what is there is replaced.
        codes: Integer codes, shape (sequences, positions).
        alphabet: A name in ``ALPHABETS``, or the symbols of the codes 0, 1, ...
        names: The sequences' names, on one line each.

    Raises:
        ArgumentError: A name has a line of its own, or there are not as many as sequences.
        DataError: A code has no symbol.
        FileError: The file cannot be written.
    """
    symbols = ALPHABETS.get(alphabet, alphabet)
    if len(names) != len(codes):
        raise invalid("names", len(names), f"{len(codes)}, one for each sequence")
    if codes.ndim != 2 or bool(((codes < 0) | (codes >= len(symbols))).any()):
        raise DataError(f"codes: got shape {tuple(codes.shape)}, expected codes in 0 ... {len(symbols) - 1}")
    for name in names:
        if len(name.splitlines()) > 1:
            raise invalid("names", name, "names of one line")
    lines = (f">{name}\n{''.join(symbols[c] for c in row)}\n" for name, row in _pairs(names, codes))
    content = "".join(lines).encode()
    write_bytes(path, gzip.compress(content, mtime=0) if str(path).lower().endswith(".gz") else content)


@torch.no_grad()
def scored(model: Model, codes: Tensor) -> list[str]:
    """Return names of sampled sequences: their numbers, with minus the free energy in nats where it is known.

    That is the log-likelihood plus log Z, the same for all sequences of a model.

    Arguments:
        model: The model that they are of.
        codes: Integer codes, shape (sequences, positions).
    """
    if not isinstance(model, PairwiseModel) or not _sums_out(model):
        return [f"sample_{number}" for number in range(1, len(codes) + 1)]
    scores = (-model.free_energy(codes)).tolist()
    return [f"sample_{number} minus_free_energy={score:.4f}" for number, score in enumerate(scores, 1)]


def _sums_out(model: PairwiseModel) -> bool:
    hidden = model.blocks()[1:]
    return len(hidden) <= 1 and all(model.lateral(block) is None for block in hidden)


def _pairs(names: Sequence[str], codes: Tensor) -> list[tuple[str, list[int]]]:
    return list(zip(names, codes.long().tolist(), strict=True))
