"""Aligned sequences: what a FASTA file says, how errors name their place, weights against a double loop."""

import gzip

import pytest
import torch

from harmonium.datasets import ALPHABETS, read_fasta, sequence_weights
from harmonium.errors import ArgumentError, DataError


def _write(folder, text):
    path = folder / "family.fasta"
    path.write_text(text)
    return path


def test_codes_are_places_in_the_alphabet(tmp_path):
    text = ">one of them\nAC\n\n-y\n>two\n.WDa\n"
    zipped = tmp_path / "family.fasta.gz"
    zipped.write_bytes(gzip.compress(text.encode()))
    for path in (_write(tmp_path, text), zipped):
        codes, names = read_fasta(path)
        assert names == ["one of them", "two"]
        symbols = ["".join(ALPHABETS["protein"][code] for code in row) for row in codes.tolist()]
        assert symbols == ["AC-Y", "-WDA"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (">one\nACD\n>two\nAC\nX\n", "sequence 'two', line 5, column 1: 'X'"),
        (">one\nACD\n>two\nAC\n", "sequence 'two', line 3, has 2 symbols"),
        ("ACD\n", "line 1 comes before"),
        ("", "got none"),
        (">one\n>two\n", "empty"),
    ],
)
def test_errors_name_the_place(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        read_fasta(_write(tmp_path, text))


def test_unknown_symbols_become_gaps_only_when_asked(tmp_path):
    codes, _ = read_fasta(_write(tmp_path, ">one\nAXC\n"), unknown="gap")
    assert codes.tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("alphabet", ["A", "AAC"])
def test_an_alphabet_has_different_symbols(tmp_path, alphabet):
    with pytest.raises(ArgumentError, match="alphabet"):
        read_fasta(_write(tmp_path, ">one\nA\n"), alphabet=alphabet)


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("identity", [0.6, 0.8, 1.0])
def test_weights_equal_a_double_loop(identity, block):
    codes = torch.randint(3, (40, 5), generator=torch.Generator().manual_seed(0))
    loop = [1 / sum(int((a == b).sum()) >= round(identity * 5) for b in codes) for a in codes]
    assert sequence_weights(codes, identity, block).tolist() == loop
    assert len(set(loop)) > 1
