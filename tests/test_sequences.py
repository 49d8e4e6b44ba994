"""Aligned sequences: what a FASTA file says, how errors name their place, weights against a double loop."""

import gzip
import re

import pytest
import torch
from typer.testing import CliRunner

import harmonium as hm
from harmonium.cli import app
from harmonium.datasets import ALPHABETS, load, read_fasta, sequence_weights, summary
from harmonium.errors import ArgumentError, DataError
from harmonium.random import Stream
from harmonium.report import write_fasta, write_report
from harmonium.training._source import open_source


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


@pytest.mark.parametrize("identity", [0.6, 0.8, 1.0])
@pytest.mark.parametrize(("positions", "states"), [(5, 3), (65, 2), (130, 21)])
def test_weights_equal_a_double_loop(identity, positions, states):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(states, (40, positions), generator=generator)
    far = torch.rand(40, positions, generator=generator) < torch.rand(40, 1, generator=generator) / 2
    codes = torch.where(far, codes, codes[:1])
    codes[1] = codes[0]
    loop = [1 / sum(int((a == b).sum()) >= identity * positions - 1e-6 for b in codes) for a in codes]
    assert sequence_weights(codes, identity).tolist() == loop
    assert len(set(loop)) > 1


def _family(folder, n=30):
    codes = torch.randint(5, (n, 12), generator=torch.Generator().manual_seed(1))
    codes[: n // 3] = codes[0]
    lines = [f">s{i}\n{''.join('-ACGT'[c] for c in row)}" for i, row in enumerate(codes.tolist())]
    return _write(folder, "\n".join(lines)), codes


def test_a_family_is_loaded_with_its_alphabet_and_weights(tmp_path):
    path, codes = _family(tmp_path)
    family = load(path, alphabet="dna", reweight=0.8, validation=0, test=0)
    assert family.alphabet == "-ACGT"
    assert family.train.dtype == torch.uint8
    assert sorted(family.train.tolist()) == sorted(codes.tolist())
    assert torch.equal(family.weights, sequence_weights(family.train, 0.8))
    assert summary(family)["effective_rows"] == pytest.approx(float(family.weights.sum()))
    assert load(path, alphabet="-ACGT").weights is None


@pytest.mark.parametrize(
    ("options", "words"),
    [({"reweight": 0}, "reweight: got 0"), ({"label": 1}, "label"), ({"transform": "zca"}, "transform")],
)
def test_a_family_refuses_what_means_nothing_to_it(tmp_path, options, words):
    path, _ = _family(tmp_path)
    with pytest.raises(ArgumentError, match=words):
        load(path, alphabet="dna", **options)
    table = tmp_path / "rows.csv"
    table.write_text("1,2\n3,4\n")
    with pytest.raises(ArgumentError, match="reweight"):
        load(table, reweight=0.8)


def test_weights_that_data_bring_train_as_repeated_rows_do(tmp_path):
    path, _ = _family(tmp_path)
    family = load(path, alphabet="dna", reweight=0.8, validation=0, test=0)
    # Ten equal rows weigh a tenth each: as if each of the others came ten times.
    rows = family.train.repeat_interleave(torch.where(family.weights == 1, 10, 1), 0)
    assert sorted(family.weights.unique().tolist()) == [0.1, 1]

    def slope(data, weights=None):
        model = hm.BoltzmannMachine(hm.Categorical(12, 5)).double()
        batch = next(open_source(model.visible, data, Stream(0), 1000, 10, weights).source.batches(0))
        hm.Pseudolikelihood().update(model, batch, {}, Stream(0), lambda name: None)
        return model.visible_coupling.grad

    weighted = slope(family)
    assert torch.allclose(weighted, slope(rows))
    assert torch.equal(weighted, slope(family.train, weights=family.weights))
    assert not torch.allclose(weighted, slope(family.train))


@pytest.mark.parametrize("name", ["written.fasta", "written.fa.gz"])
def test_sequences_come_back_as_they_were_written(tmp_path, name):
    codes = torch.randint(21, (5, 7), generator=torch.Generator().manual_seed(2))
    names = [f"s{i} with a score" for i in range(5)]
    write_fasta(tmp_path / name, codes, "protein", names)
    again, found = read_fasta(tmp_path / name)
    assert torch.equal(again, codes)
    assert found == names
    with pytest.raises(DataError, match=r"0 \.\.\. 4"):
        write_fasta(tmp_path / name, codes, "dna", names)
    assert torch.equal(read_fasta(tmp_path / name)[0], codes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (">one\nACG\n>two\nAC\n", "sequence 'two', line 3, has 2 symbols, the first 3; align"),
        (">one\nACG\n>two\nAZC\n", "line 4, column 2: 'Z' is not in the alphabet; .*--set data.unknown=gap"),
    ],
)
def test_the_command_line_refuses_what_is_no_family(tmp_path, text, words):
    folder, path = tmp_path / "run", _write(tmp_path, text)
    pairs = ["--set", "hidden=3", "--set", "data.alphabet=dna"]
    done = CliRunner().invoke(app, ["train", "rbm", "--data", str(path), "--out", str(folder), *pairs])
    assert done.exit_code == 1
    assert re.search(words, done.stderr)
    assert not folder.exists()


def test_the_command_line_goes_from_a_family_to_sequences(tmp_path):
    path, _ = _family(tmp_path, 60)
    folder, out = tmp_path / "run", tmp_path / "made.fasta"
    settings = ["hidden=3", "epochs=2", "data.alphabet=dna", "data.reweight=0.8"]
    pairs = [word for setting in settings for word in ("--set", setting)]
    for words in (
        ["train", "rbm", "--data", str(path), "--out", str(folder), *pairs],
        ["sample", str(folder), "--n", "9", "--steps", "5", "--out", str(out)],
        ["evaluate", str(folder), "--no-report"],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    codes, names = read_fasta(out, alphabet="dna")
    assert codes.shape == (9, 12)
    model = hm.load(folder / "model.safetensors")
    assert model.visible.states == 5
    scores = [float(name.partition("minus_free_energy=")[2]) for name in names]
    assert scores == pytest.approx((-model.free_energy(codes)).tolist(), abs=1e-3)
    page = write_report(folder, samples=4, steps=2).read_text("utf-8")
    for title in ("One site", "Two sites, connected", "Three sites, connected", "Contact map", "Pairs"):
        assert title in page
    refused = CliRunner().invoke(app, ["sample", str(folder), "--means", "--out", str(tmp_path / "no.fasta")])
    assert refused.exit_code != 0
