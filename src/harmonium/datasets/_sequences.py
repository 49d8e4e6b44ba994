r"""Aligned sequences: FASTA files as integer codes, and the weights of sequences with near relatives.

A family of aligned sequences is a matrix of symbols, a row for a sequence and a column for a position, and
the code of a symbol is its place in the alphabet. Databases hold some branches of a family many times
over. The weight of a sequence is one over its number of relatives, itself included,

.. math:: w_a = 1 / |\{b : \tfrac{1}{L} \sum_i [x_{ai} = x_{bi}] \ge \theta\}|,

where a gap is a symbol like any other, and :math:`\sum_a w_a` is the family's effective number of sequences.
"""

from __future__ import annotations

__all__ = ["ALPHABETS", "FASTA", "check_identity", "read_family", "read_fasta", "sequence_weights"]

import math
from pathlib import Path

import numpy as np
import torch

from ..errors import ArgumentError, DataError, FileError, invalid
from ._files import opened
from ._relatives import count_relatives
from ._rows import Rows

ALPHABETS = {"protein": "-ACDEFGHIKLMNPQRSTVWY", "dna": "-ACGT", "rna": "-ACGU"}
"""Alphabets by name; the first symbol of each is the gap."""

FASTA = (".fasta", ".fasta.gz", ".fa", ".fa.gz")


def read_family(path: Path, alphabet: str | None, unknown: str | None) -> Rows:
    """Read a FASTA file as rows of codes that know their alphabet, by default that of proteins."""
    named = alphabet or "protein"
    codes, _ = read_fasta(path, named, unknown or "refuse")
    return Rows({"train": codes.numpy()}, {}, str(path), alphabet=ALPHABETS.get(named, named))


def read_fasta(
    path: str | Path, alphabet: str = "protein", unknown: str = "refuse"
) -> tuple[torch.Tensor, list[str]]:
    """Read aligned sequences; lower case counts as upper case if the alphabet has none, and ``.`` as its gap.

    Arguments:
        path: The file, gzipped or not.
        alphabet: A name in ``ALPHABETS``, or the symbols themselves, a gap first.
        unknown: ``refuse`` symbols outside the alphabet, or take each as a ``gap``.

    Returns:
        The codes, of shape (sequences, positions) in int64, and the sequences' names.

    Raises:
        ArgumentError: The alphabet repeats a symbol or has fewer than two, or ``unknown`` is no choice.
        DataError: A symbol is unknown, lengths differ, or there is no sequence.
        FileError: The file cannot be read as text.
    """
    symbols = ALPHABETS.get(alphabet, alphabet)
    if len(symbols) < 2 or len(set(symbols)) < len(symbols):
        raise invalid("alphabet", alphabet, f"one of {', '.join(ALPHABETS)}, or symbols that all differ")
    if unknown not in ("refuse", "gap"):
        raise invalid("unknown", unknown, "refuse or gap")
    table = _table(symbols)
    names: list[str] = []
    starts: list[int] = []
    rows: list[list[np.ndarray]] = []
    for number, line in enumerate(_lines(Path(path)), start=1):
        if line.startswith(">"):
            names.append(line[1:].strip())
            starts.append(number)
            rows.append([])
        elif line.strip():
            if not rows:
                raise DataError(f"{path}: line {number} comes before a name, a line with '>'")
            rows[-1].append(
                _codes(line.rstrip(), table, unknown, f"{path}: sequence {names[-1]!r}, line {number}")
            )
    return _aligned(path, names, starts, rows), names


def sequence_weights(codes: torch.Tensor, identity: float = 0.8) -> torch.Tensor:
    """Return one over the number of sequences, itself included, that equal each in a share of positions.

    Arguments:
        codes: Integer codes of shape (sequences, positions), from 0 on; gaps are symbols like others.
        identity: The share, above 0 and at most 1.

    Returns:
        The weights, of shape (sequences,) in float64.

    Raises:
        ArgumentError: The share is out of range, or the codes are no matrix of codes.
    """
    check_identity("identity", identity)
    if codes.ndim != 2 or not codes.numel() or codes.is_floating_point() or int(codes.min()) < 0:
        raise ArgumentError(
            f"codes: got {tuple(codes.shape)} of {codes.dtype}, expected a matrix of codes from 0 on"
        )
    most = math.floor((1 - identity) * codes.shape[1] + 1e-6)
    return 1 / torch.from_numpy(count_relatives(codes.cpu().long().numpy(), most)).double()


def check_identity(name: str, share: object) -> None:
    """Check that a share of equal positions is None or above 0 and at most 1.

    Raises:
        ArgumentError: It is not.
    """
    number = isinstance(share, int | float) and not isinstance(share, bool) and 0 < share <= 1
    if not (share is None or number):
        raise invalid(name, share, "a number above 0 and at most 1")


def _table(symbols: str) -> dict[str, int]:
    """Return the code of each symbol that is understood."""
    table = {symbol: code for code, symbol in enumerate(symbols)}
    lower = {symbol.lower(): code for symbol, code in table.items()}
    return {".": 0} | lower | table


def _codes(line: str, table: dict[str, int], unknown: str, where: str) -> np.ndarray:
    """Return the codes of a line."""
    codes = np.array([table.get(symbol, -1) for symbol in line], dtype=np.int64)
    strange = np.flatnonzero(codes < 0)
    if len(strange) and unknown == "refuse":
        column = int(strange[0])
        raise DataError(
            f"{where}, column {column + 1}: {line[column]!r} is not in the alphabet; "
            "unknown='gap' (--set data.unknown=gap) takes it as a gap"
        )
    codes[strange] = 0
    return codes


def _aligned(
    path: str | Path, names: list[str], starts: list[int], rows: list[list[np.ndarray]]
) -> torch.Tensor:
    """Return the sequences as one matrix, or say which does not fit the first."""
    lengths = [sum(map(len, parts)) for parts in rows]
    if not lengths or not lengths[0]:
        raise DataError(
            f"{path}: expected aligned sequences, got {'an empty one first' if lengths else 'none'}"
        )
    for name, start, length in zip(names, starts, lengths, strict=True):
        if length != lengths[0]:
            raise DataError(
                f"{path}: sequence {name!r}, line {start}, has {length} symbols, "
                f"the first {lengths[0]}; align the sequences first"
            )
    return torch.from_numpy(np.stack([np.concatenate(parts) for parts in rows]))


def _lines(path: Path) -> list[str]:
    """Return the lines of a text."""
    with opened(path) as stream:
        try:
            return stream.read().decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise FileError(f"{path} is no text in UTF-8") from error
