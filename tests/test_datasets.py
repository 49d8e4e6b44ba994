"""Data sets: splits, binarisation, files that are right and wrong, downloads."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from harmonium import datasets
from harmonium.datasets import DATASETS, _download, from_array, load, summary
from harmonium.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    FileError,
)

NAMES = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
FLOORS = {
    "binarized-mnist": -205.79,
    "adult": -25.77,
    "mushrooms": -34.23,
    "dna": -100.39,
    "plants": -31.27,
}
SHIPPED = ("digits", "ring", "grid")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No test sees this machine's data, cache or network, unless it asks for the data."""
    monkeypatch.delenv("HARMONIUM_DATA", raising=False)
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    for name in datasets.MIRRORS:
        monkeypatch.setitem(datasets.MIRRORS, name, ())


DATA = os.environ.get("HARMONIUM_DATA")


@pytest.fixture
def real(monkeypatch):
    if not DATA:
        pytest.skip("HARMONIUM_DATA is not set")
    monkeypatch.setenv("HARMONIUM_DATA", DATA)

    def loader(name, **arguments):
        try:
            return load(name, **arguments)
        except FileError as error:
            if "not found" not in str(error):
                raise
            pytest.skip(f"$HARMONIUM_DATA has no {name}")

    return loader


def idx(array):
    """Write an array in the IDX format, independently of the library's reader."""
    array = np.asarray(array, np.uint8)
    head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.tobytes()


@pytest.fixture(scope="module")
def small():
    """Return four small files of the MNIST family: 30 training images and 10 for testing."""
    rng = np.random.default_rng(7)
    train, test = rng.integers(0, 256, (30, 28, 28)), rng.integers(0, 256, (10, 28, 28))
    marks = (np.arange(30) % 10, np.arange(10)[::-1])
    arrays = (train, marks[0], test, marks[1])
    return {f"{name}-ubyte": idx(a) for name, a in zip(NAMES, arrays, strict=True)}


def lay(folder, files, zipped=True):
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / (name + ".gz" * zipped)
        path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


# --- digits and the three binarisations ----------------------------------------------------------


def test_digits_split_keeps_every_row_and_its_label_once():
    data = load("digits", seed=3)
    grey, labels = load_digits(return_X_y=True)
    assert [len(data.train), len(data.validation), len(data.test)] == [1297, 250, 250]
    assert (data.shape, data.levels, data.binarisation) == ((8, 8), 16, "sampled")
    assert data.train.dtype == torch.uint8
    assert int(data.train.max()) == 16
    means = load("digits", seed=3, binarisation="none")
    rows = torch.cat([means.train / 16, means.validation, means.test])
    marks = torch.cat([data.labels[k] for k in ("train", "validation", "test")])
    ours = sorted((*r.tolist(), m) for r, m in zip(rows, marks.tolist(), strict=True))
    theirs = sorted((*r.tolist(), m) for r, m in zip(grey / 16, labels.tolist(), strict=True))
    assert ours == theirs


def test_seed_changes_the_split_and_nothing_else_does():
    first, again, other = load("digits"), load("digits"), load("digits", seed=1)
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test, again.test)
    assert not torch.equal(first.train, other.train)
    assert not torch.equal(first.labels["test"], other.labels["test"])


def test_threshold_is_one_from_half_on():
    rows = np.array([[0, 7, 8, 9, 16]], np.uint8)
    data = from_array(rows, test=rows, binarisation="threshold", levels=16)
    assert data.train.tolist() == [[0, 0, 1, 1, 1]] == data.test.tolist()
    assert (data.kind, data.levels, data.binarisation) == ("bits", None, "threshold")
    odd = from_array(np.array([[127, 128, 255, 0]], np.uint8), binarisation="threshold")
    assert odd.train.tolist() == [[0, 1, 1, 0]]
    real = from_array(np.array([[0.49, 0.5, 0.3, 1.0]]), binarisation="threshold")
    assert real.train.tolist() == [[0, 1, 0, 1]]


def test_none_gives_means_to_score_and_keeps_bytes_to_learn_from():
    rows = np.array([[0, 51, 102, 255]], np.uint8)
    data = from_array(rows, test=rows, binarisation="none")
    assert data.train.dtype == torch.uint8
    assert (data.levels, data.kind) == (255, "grey levels")
    for means in (data.test, data.fixed()):
        assert means.dtype == torch.float32
        torch.testing.assert_close(means, torch.tensor([[0, 0.2, 0.4, 1]]))


def test_sampled_bits_have_the_grey_values_as_means():
    levels = torch.arange(256).repeat(2000, 1).to(torch.uint8)
    data = from_array(levels, test=levels, binarisation="sampled", levels=255)
    means = torch.arange(256).double() / 255
    error = (means * (1 - means) / 2000).sqrt()
    for bits in (data.test, data.fixed()):
        assert bits.dtype == torch.uint8
        rates = bits.double().mean(0)
        assert rates[0] == 0
        assert rates[255] == 1
        assert ((rates - means)[1:255] / error[1:255]).abs().max() < 4.5
        squares = ((rates - means)[1:255] / error[1:255]).square().mean()
        assert abs(squares - 1) < 4 * (2 / 254) ** 0.5
    agree = (data.test[:, 128] == data.fixed()[:, 128]).double().mean()
    assert abs(agree - 0.5) < 4 * 0.5 / 2000**0.5


def test_fixed_sample_does_not_depend_on_how_many_rows_are_asked_for():
    data = load("digits")
    whole = data.fixed()
    assert whole.shape == data.train.shape
    assert torch.equal(data.fixed(), whole)
    for rows in (0, 1, 511, 512, 513, 1000, 5000):
        assert torch.equal(data.fixed("train", rows), whole[:rows])
    assert torch.equal(data.fixed("test", 5), data.test[:5])
    assert not torch.equal(load("digits", seed=1).fixed()[:100], whole[:100])


def test_fixed_sample_of_a_row_does_not_depend_on_the_block_size(monkeypatch):
    grey = np.full((700, 3), 128, np.uint8)
    whole = from_array(grey, test=grey, binarisation="sampled")
    monkeypatch.setattr(datasets._dataset, "BLOCK", 7)
    parts = from_array(grey, test=grey, binarisation="sampled")
    assert torch.equal(parts.test, whole.test)
    assert torch.equal(parts.fixed(), whole.fixed())
    assert whole.test.double().mean(1).std() > 0


def test_fixed_refuses_what_is_no_split_or_count():
    data = load("digits")
    with pytest.raises(ArgumentError, match="did you mean 'train'"):
        data.fixed("trian")
    for rows in (-1, 1.5, True):
        with pytest.raises(ArgumentError, match="rows: got"):
            data.fixed("train", rows)


# --- what arrays become --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        ([[0.0, 1.0], [1.0, 1.0]], torch.uint8, "bits"),
        ([[True, False]], torch.uint8, "bits"),
        ([[0, 255]], torch.uint8, "integers"),
        ([[-1, 1]], torch.int16, "integers"),
        ([[0.0, 256.0]], torch.int16, "integers"),
        ([[0, 40_000]], torch.int32, "integers"),
        ([[0, 2**40]], torch.int64, "integers"),
        ([[0.0, 0.5]], torch.float32, "reals"),
        ([[1e30, 1.0]], torch.float32, "reals"),
    ],
)
def test_values_take_the_smallest_type_and_keep_their_value(values, dtype, kind):
    for given in (np.array(values), torch.tensor(values)):
        data = from_array(given)
        assert (data.train.dtype, data.kind, data.binarisation) == (dtype, kind, None)
        torch.testing.assert_close(data.train.double(), torch.tensor(values).double())


def test_one_split_widens_the_others():
    data = from_array(np.zeros((2, 2), int), test=np.array([[300, 0]]))
    assert data.train.dtype == data.test.dtype == torch.int16
    assert from_array(np.zeros((2, 2)), test=np.array([[0, 0.5]])).train.dtype == torch.float32
    assert from_array(np.zeros((2, 2)), test=np.array([[0, 2]])).kind == "integers"


def test_bytes_are_shared_and_read_only_ones_copied():
    rows = np.zeros((3, 2), np.uint8)
    data = from_array(rows)
    rows[0, 0] = 1
    assert data.train[0, 0] == 1
    rows.flags.writeable = False
    copied = from_array(rows)
    copied.train[0, 0] = 0
    assert rows[0, 0] == 1


def test_images_are_flattened_and_their_shape_kept():
    data = from_array(np.arange(24).reshape(2, 3, 4))
    assert data.shape == (3, 4)
    assert data.train.tolist() == [list(range(12)), list(range(12, 24))]


def test_half_and_big_endian_and_reversed_arrays_are_read_by_value():
    half = np.array([[0.5, 0.25]], np.float16)
    assert from_array(half).train.tolist() == [[0.5, 0.25]]
    assert from_array(torch.tensor([[0.5, 0.25]], dtype=torch.bfloat16)).train.sum() == 0.75
    assert from_array(np.array([[1, 300]], ">i4")[:, ::-1]).train.tolist() == [[300, 1]]


def test_sizes_by_count_and_fraction():
    rows = np.arange(200).reshape(100, 2)
    data = from_array(rows, validation=0.29, test=10, labels=np.arange(100))
    assert [len(data.train), len(data.validation), len(data.test)] == [61, 29, 10]
    everything = torch.cat([data.train, data.validation, data.test])
    assert sorted(everything[:, 0].tolist()) == list(range(0, 200, 2))
    for split in ("train", "validation", "test"):
        assert torch.equal(getattr(data, split)[:, 0].long(), 2 * data.labels[split])
    assert data.labels["train"].tolist() != sorted(data.labels["train"].tolist())
    assert from_array(rows).train[:, 0].tolist() == list(range(0, 200, 2))


@pytest.mark.parametrize("size", [-1, 1.0, -0.1, True, "3", float("nan")])
def test_sizes_that_are_none(size):
    with pytest.raises(ArgumentError, match="validation: got"):
        from_array(np.zeros((4, 2)), validation=size)
    with pytest.raises(ArgumentError, match="test: got"):
        load("digits", test=size)


def test_some_rows_must_be_left_for_training():
    rows = np.zeros((4, 2))
    assert len(from_array(rows, validation=2, test=1).train) == 1
    with pytest.raises(ArgumentError, match=r"validation=2, test=2: .* at least one of 4 rows"):
        from_array(rows, validation=2, test=2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.zeros((3, 0)), r"shape \(3, 0\)"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([["a", "b"]]), "type <U1"),
        (np.array([[None, 1]]), "type object"),
        (np.array([[1j, 0]]), "type complex128"),
        (np.array([[0.0, 1.0], [1.0, np.nan]]), "row 1, column 1 .*got nan"),
        (np.array([[0.0, -np.inf]]), "row 0, column 1 .*got -inf"),
        (np.array([[1e39, 0.5]]), r"row 0, column 0 .*got 1e\+39"),
    ],
)
def test_arrays_that_are_no_data(rows, message):
    with pytest.raises(DataError, match=message):
        from_array(rows, name="mine")


def test_the_bad_value_is_found_in_any_block():
    rows = np.zeros((5000, 2, 2))
    rows[4500, 1, 0] = np.inf
    with pytest.raises(DataError, match=r"mine: test: row 4500, column 2 .*got inf"):
        from_array(np.zeros((1, 2, 2)), test=rows, name="mine")


def test_things_that_are_no_arrays():
    for rows in ([[0, 1]], "digits", None, np.ma.masked_array([[0, 1]], [[True, False]])):
        with pytest.raises(ArgumentTypeError, match="rows: got"):
            from_array(rows)
    with pytest.raises(ArgumentTypeError, match="from_array"):
        load(np.zeros((2, 2)))


def test_splits_must_have_the_same_columns():
    with pytest.raises(DataError, match=r"test: got rows of shape \(3,\), expected \(2,\)"):
        from_array(np.zeros((2, 2)), test=np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(3), "expected \\(4,\\)"),
        (np.array([0, 1, 0.5, 2]), "row 2 .*got 0.5"),
        (np.array([0, 1, np.nan, 2]), "row 2 .*got nan"),
        (np.array(list("abcd")), "expected integers"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(DataError, match=message):
        from_array(np.zeros((4, 2)), labels=labels)


def test_labels_by_split():
    rows, more = np.zeros((4, 2)), np.zeros((2, 2))
    data = from_array(rows, test=more, labels={"test": np.array([5.0, 6.0])})
    assert data.labels["test"].tolist() == [5, 6]
    assert data.labels["test"].dtype == torch.int64
    assert list(data.labels) == ["test"]
    with pytest.raises(ArgumentError, match=r"labels: unknown 'tset'.*did you mean 'test'"):
        from_array(rows, test=more, labels={"tset": np.array([5, 6])})


# --- grey values of a user -----------------------------------------------------------------------


def test_grey_values_without_a_binarisation_stay_what_they_are():
    reals = from_array(np.array([[0.5, 0.1]]))
    assert (reals.kind, reals.levels, reals.binarisation) == ("reals", None, None)
    assert torch.equal(reals.fixed(), reals.train)
    grey = from_array(np.array([[0, 255]]))
    assert (grey.kind, grey.levels) == ("integers", None)


def test_means_are_kept_exactly():
    rows = np.random.default_rng(0).random((5, 4), np.float32)
    data = from_array(rows, test=rows, binarisation="sampled")
    assert (data.levels, data.kind) == (1, "means")
    assert np.array_equal(data.train.numpy(), rows)
    assert set(data.test.unique().tolist()) <= {0, 1}
    kept = from_array(rows, test=rows, binarisation="none")
    assert np.array_equal(kept.test.numpy(), rows)


def test_bits_are_states_already_under_any_binarisation():
    for how in ("sampled", "threshold", "none"):
        data = from_array(np.eye(2), binarisation=how)
        assert (data.binarisation, data.levels, data.kind) == (None, None, "bits")
        assert data.train.tolist() == [[1, 0], [0, 1]]
    dark = from_array(np.eye(2, dtype=int), binarisation="none", levels=4)
    assert dark.fixed().tolist() == [[0.25, 0], [0, 0.25]]


def test_more_levels_than_a_byte_has():
    data = from_array(np.array([[0, 64, 255]], np.uint8), binarisation="none", levels=256)
    assert data.fixed().tolist() == [[0, 0.25, 255 / 256]]


@pytest.mark.parametrize(
    ("rows", "levels", "message"),
    [
        ([[0.5, 1.5]], None, "row 0, column 1 .*got 1.5"),
        ([[0.5, -0.5]], None, "row 0, column 1 .*got -0.5"),
        ([[0, 256]], None, "got 256, expected a grey value from 0 to 255"),
        ([[0, -1]], None, "got -1"),
        ([[3, 17]], 16, "got 17, expected a grey value from 0 to 16"),
        ([[0, 16]], None, "levels=16 or levels=255"),
        ([[0.5, 1.0]], 255, "levels: got 255"),
    ],
)
def test_grey_values_out_of_range(rows, levels, message):
    with pytest.raises((DataError, ArgumentError), match=message):
        from_array(np.array(rows), binarisation="sampled", levels=levels)


def test_arguments_that_mean_nothing():
    rows = np.array([[0, 255]])
    with pytest.raises(ArgumentError, match="levels: got 255, expected None"):
        from_array(rows, levels=255)
    for levels in (0, -3, 2.0, True):
        with pytest.raises(ArgumentError, match="levels: got"):
            from_array(rows, levels=levels, binarisation="none")
    with pytest.raises(ArgumentError, match="did you mean 'sampled'"):
        from_array(rows, binarisation="sample")
    with pytest.raises(ArgumentError, match="seed: got -1"):
        load("digits", seed=-1)
    with pytest.raises(ArgumentError, match="delimiter: got ';'"):
        load("digits", delimiter=";")
    with pytest.raises(ArgumentError, match=r"binarisation: got 'none'.*holds bits already"):
        load("adult", binarisation="none")
    with pytest.raises(ArgumentError, match="test: got 10, expected None: mnist has that split"):
        load("mnist", test=10)


# --- names and paths -----------------------------------------------------------------------------


def test_unknown_names_and_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=r"unknown 'fashion_mnist'.*did you mean 'fashion-mni"):
        load("fashion_mnist")
    for path in ("nowhere.csv", "some/where", tmp_path / "absent.npy"):
        with pytest.raises(FileError, match="there is no such file"):
            load(path)
    with pytest.raises(FileError, match="got no images"):
        load(tmp_path)
    (tmp_path / "rows.xlsx").write_bytes(b"1,2")
    with pytest.raises(FileError, match=r"unknown format, expected one of \.npy"):
        load("rows.xlsx")
    with pytest.raises(ArgumentError, match="root: got"):
        load(tmp_path / "rows.npy", root=tmp_path)
    with pytest.raises(FileError, match="root: there is no folder"):
        load("adult", root=tmp_path / "absent")


def test_npy_splits_off_a_tenth_each(tmp_path):
    rows = np.random.default_rng(0).integers(0, 2, (50, 3, 2))
    np.save(tmp_path / "bits.npy", rows)
    data = load(tmp_path / "bits.npy")
    assert [len(data.train), len(data.validation), len(data.test)] == [40, 5, 5]
    assert (data.shape, data.kind, data.name) == ((3, 2), "bits", "bits.npy")
    assert str(tmp_path) in data.source
    whole = load(str(tmp_path / "bits.npy"), validation=0, test=0)
    assert np.array_equal(whole.train.numpy(), rows.reshape(50, 6))


def test_npz_with_and_without_splits(tmp_path):
    rows = np.arange(20).reshape(10, 2)
    np.savez(tmp_path / "one.npz", x=rows, y=np.arange(10))
    data = load(tmp_path / "one.npz", validation=3, test=0.2)
    assert [len(data.labels[k]) for k in ("train", "validation", "test")] == [5, 3, 2]
    assert torch.equal(data.test[:, 0].long(), 2 * data.labels["test"])
    np.savez(tmp_path / "two.npz", x_train=rows, y_train=np.arange(10), x_test=rows + 100)
    data = load(tmp_path / "two.npz", validation=4)
    assert data.test.tolist() == (rows + 100).tolist()
    assert len(data.train) == 6
    assert list(data.labels) == ["train", "validation"]
    with pytest.raises(ArgumentError, match="test: got 3, expected None"):
        load(tmp_path / "two.npz", test=3)


@pytest.mark.parametrize(
    "keys",
    [
        ("foo", "bar"),
        ("x_train", "x_vaild"),
        ("x_test",),
        ("x", "x_train"),
        ("x", "y", "y_train"),
        ("x", "y_test"),
    ],
)
def test_npz_with_the_wrong_keys(tmp_path, keys):
    np.savez(tmp_path / "rows.npz", **{key: np.zeros((3, 2)) for key in keys})
    with pytest.raises(FileError, match=rf"rows.npz: got keys {', '.join(keys)}; expected x_train"):
        load(tmp_path / "rows.npz")


class Trap:
    """An object whose unpickling would leave a trace."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_objects_are_never_unpickled(tmp_path):
    trace = tmp_path / "trace"
    trap = np.array([[Trap(trace), 1]], object)
    np.save(tmp_path / "trap.npy", trap)
    np.savez(tmp_path / "trap.npz", x=trap)
    trap.dump(tmp_path / "dump.npy")
    for name in ("trap.npy", "trap.npz", "dump.npy"):
        with pytest.raises(FileError, match=f"{name}.*never unpickled"):
            load(tmp_path / name)
    assert not trace.exists()
    np.load(tmp_path / "trap.npy", allow_pickle=True)
    assert trace.exists()


def test_damaged_archives(tmp_path):
    np.savez_compressed(tmp_path / "good.npz", x=np.arange(4000.0).reshape(40, 100) ** 1.5)
    content = (tmp_path / "good.npz").read_bytes()
    middle = len(content) // 2
    damaged = content[:middle] + bytes(64) + content[middle + 64 :]
    for name, bad in {
        "cut.npz": content[:-100],
        "bits.npz": damaged,
        "empty.npz": b"",
        "text.npz": b"1,2\n3,4\n",
        "zip.npy": content,
        "empty.npy": b"",
    }.items():
        (tmp_path / name).write_bytes(bad)
        with pytest.raises(FileError, match=name):
            load(tmp_path / name)
    np.save(tmp_path / "plain.npy", np.zeros((2, 2)))
    (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
    with pytest.raises(FileError, match="expected an archive"):
        load(tmp_path / "plain.npz")


# --- tables --------------------------------------------------------------------------------------


def table(tmp_path, text, name="rows.csv"):
    path = tmp_path / name
    content = text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.csv", "1,0\n0,1\n1,1\n"),
        ("rows.csv", "a,b\n1,0\n0,1\n1,1"),
        ("rows.csv", '\ufeff"first, one",b_2\r\n1,0\r\n0,1\r\n1,1\r\n\r\n'),
        ("rows.CSV", ",\n1, 0\n0,1\n1 ,1\n".replace(",\n", "x,\n", 1)),
        ("rows.csv.gz", "1.0,0\n0,1e0\n1,1\n"),
        ("rows.tsv", "a\tb\n1\t0\n0\t1\n1\t1\n"),
        ("rows.tsv.gz", "1\t0\n0\t1\n1\t1\n"),
    ],
)
def test_tables_with_and_without_a_header(tmp_path, name, text):
    data = load(table(tmp_path, text, name), validation=0, test=0)
    assert data.train.tolist() == [[1, 0], [0, 1], [1, 1]]
    assert (data.kind, data.shape) == ("bits", (2,))


def test_table_options(tmp_path):
    path = table(tmp_path, "0;1;2\n5;1;0\n6;0;1\n")
    data = load(path, delimiter=";", header=True, label="0", validation=0, test=0)
    assert data.train.tolist() == [[1, 0], [0, 1]]
    assert data.labels["train"].tolist() == [5, 6]
    data = load(path, delimiter=";", header=False, label=2, validation=0, test=0)
    assert data.train.tolist() == [[0, 1], [5, 1], [6, 0]]
    assert data.labels["train"].tolist() == [2, 0, 1]
    with pytest.raises(DataError, match=r"column 1 \(0;1;2\): got '5;1;0'"):
        load(path)
    with pytest.raises(ArgumentError, match="delimiter: got ';;'"):
        load(path, delimiter=";;")
    for label in (3, -1, "0", True):
        with pytest.raises(ArgumentError, match="label: "):
            load(path, delimiter=";", label=label)
    named = table(tmp_path, "kind,b\n0,1\n0.5,1\n", "named.csv")
    with pytest.raises(ArgumentError, match=r"label: unknown 'kin'.*did you mean 'kind'"):
        load(named, label="kin")
    with pytest.raises(DataError, match=r"labels of train: row 1 .*got 0.5"):
        load(named, label="kind")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,x\n", r"column 'b': got both numbers .*row 1: 'x'.*since its first line names columns"),
        ("1,2\n3,\n", "line 2, column 2: got an empty cell"),
        ("1,2\nnan,4\n", "line 2, column 1: got 'nan'"),
        ("1,2\n3,-inf\n", "line 2, column 2: got '-inf'"),
        ("1,2\n3,1e999\n", "line 2, column 2: got '1e999'"),
        ("1,2\n1_0,3\n", "line 2, column 1: got '1_0'"),
        ("1,2\n3,4,5\n", "line 2: got 3 cells, expected 2"),
        ("1,2\n3\n", "line 2: got 1 cells, expected 2"),
        ("a,b\n1,2,3\n", "line 2: got 3 cells, expected 2"),
        ("1,2\n\n3,4\n", "line 2: got a blank line"),
        ("a,2\n1,2\n", "line 1, column 1: got 'a'"),
        ("", "no rows"),
        ("a,b\n", "got 0 rows, expected at least one below the names of the columns"),
        (",\n1,2\n", "line 1, column 1: got an empty cell"),
        ('1,2\n"3\n\n",x\n', "line 4, column 2: got 'x'"),
        ("1,2\n1e39,0.5\n", r"row 1, column 0 .*got 1e\+39"),
    ],
)
def test_tables_that_are_no_data(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load(table(tmp_path, text))


def test_a_line_whose_sum_overflows_is_no_error(tmp_path):
    path = table(tmp_path, "1e308,1e308\n")
    with pytest.raises(DataError, match="float32"):
        load(path, validation=0, test=0)


def test_tables_that_are_no_text(tmp_path):
    good = gzip.compress(b"1,2\n" * 1000)
    for name, content in {
        "cut.csv.gz": good[:-20],
        "check.csv.gz": good[:-8] + bytes(8),
        "latin.csv": "é,b\n1,2\n".encode("latin-1"),
        "quote.csv": b'1,2\n3,"4"x\n',
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileError, match=name):
            load(tmp_path / name)


# --- the MNIST family ----------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
def test_idx_files_validate_on_their_last_rows(tmp_path, small, zipped):
    lay(tmp_path / "data" / "mnist", small, zipped)
    data = load("mnist", root=tmp_path / "data", validation=12, binarisation="none")
    train = np.frombuffer(small["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(30, 784)
    test = np.frombuffer(small["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(10, 784)
    assert np.array_equal(data.train.numpy(), train[:18])
    assert np.array_equal((data.validation * 255).round().byte().numpy(), train[18:])
    assert np.array_equal((data.test * 255).round().byte().numpy(), test)
    assert data.labels["validation"].tolist() == [i % 10 for i in range(18, 30)]
    assert data.labels["test"].tolist() == list(range(9, -1, -1))
    assert (data.shape, data.train.dtype) == ((28, 28), torch.uint8)
    everything = load("mnist", root=tmp_path / "data", validation=0)
    assert [len(everything.train), len(everything.validation)] == [30, 0]
    assert len(everything.labels["validation"]) == 0
    assert torch.equal(everything.fixed(rows=18), load_small(tmp_path, 12).fixed())
    with pytest.raises(ArgumentError, match="validation=10000: expected to leave at least one of 3"):
        load("mnist", root=tmp_path / "data")


def test_images_of_the_same_format_are_loaded_by_their_path(tmp_path, small):
    named = load_everything(lay(tmp_path / "data" / "mnist", small).parent)
    data = load(tmp_path / "data" / "mnist" / "train-images-idx3-ubyte.gz", binarisation="none", validation=0)
    assert torch.equal(data.train, named.train)
    assert torch.equal(data.test, named.test)
    assert all(torch.equal(data.labels[split], named.labels[split]) for split in ("train", "test"))
    assert data.shape == (28, 28)
    folder = tmp_path / "data" / "mnist"
    for name in ("t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (folder / f"{name}.gz").unlink()
        (folder / name).write_bytes(small[name])
    mixed = load(folder / "train-images-idx3-ubyte.gz", binarisation="none", validation=0)
    assert torch.equal(mixed.test, named.test)
    assert {*mixed.labels} == {*data.labels}
    alone = tmp_path / "letters-images.idx3-ubyte"
    alone.write_bytes(small["t10k-images-idx3-ubyte"])
    assert len(load(alone, validation=1, test=2).train) == 7
    assert not load(alone, validation=1, test=2).labels
    alone.write_bytes(small["t10k-images-idx3-ubyte"][:-1])
    with pytest.raises(FileError, match=r"letters-images\.idx3-ubyte: got 7839 values"):
        load(alone)
    with pytest.raises(ArgumentError, match="label: got 'x', expected None"):
        load(alone, label="x")


def load_everything(root):
    return load("mnist", root=root, validation=0, binarisation="none")


def load_small(tmp_path, validation):
    return load("mnist", root=str(tmp_path / "data"), validation=validation)


def test_order_of_the_places(tmp_path, small, monkeypatch):
    other = {**small, "train-labels-idx1-ubyte": idx(np.full(30, 3))}
    third = {**small, "train-labels-idx1-ubyte": idx(np.full(30, 4))}
    lay(tmp_path / "root" / "fashion-mnist", small)
    lay(tmp_path / "env" / "fashion-mnist", other)
    lay(tmp_path / "cache" / "fashion-mnist", third)
    monkeypatch.setenv("HARMONIUM_DATA", str(tmp_path / "env"))

    def labels(**arguments):
        data = load("fashion-mnist", validation=0, **arguments)
        return set(data.labels["train"].tolist())

    assert labels(root=tmp_path / "root") == set(range(10))
    assert labels() == {3}
    monkeypatch.delenv("HARMONIUM_DATA")
    assert labels() == {4}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c[:3] + b"\x01" + c[4:], "magic number 0x00000801, expected 0x00000803"),
        (lambda c: b"\x00\x00\x0d" + c[3:], "magic number 0x00000d03"),
        (lambda c: c[:-1], "got 23519 values"),
        (lambda c: c + b"\x00", "got 23521 values"),
        (lambda c: c[:9], "magic number"),
        (lambda c: b"", "magic number"),
    ],
)
def test_idx_files_that_are_none(tmp_path, small, spoil, message):
    name = "train-images-idx3-ubyte"
    lay(tmp_path / "data" / "mnist", {**small, name: spoil(small[name])})
    with pytest.raises(FileError, match=rf"{name}.gz: .*{message}"):
        load_small(tmp_path, 0)


def test_idx_files_cut_short_or_missing_or_mixed(tmp_path, small):
    folder = lay(tmp_path / "data" / "mnist", small)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FileError, match=r"t10k-labels.*cut short"):
        load_small(tmp_path, 0)
    path.write_bytes(gzip.compress(idx(np.zeros(11))))
    with pytest.raises(DataError, match=r"labels of test: got shape \(11,\), expected \(10,\)"):
        load_small(tmp_path, 0)
    path.unlink()
    with pytest.raises(FileError, match="only some files, missing t10k-labels-idx1-ubyte"):
        load_small(tmp_path, 0)
    lay(tmp_path / "wide" / "mnist", {**small, "train-images-idx3-ubyte": idx(np.ones((30, 2, 2)))})
    with pytest.raises(DataError, match=r"shape \(2, 2\), expected \(28, 28\)"):
        load("mnist", root=tmp_path / "wide", validation=0)


def test_archives_of_bits_must_hold_bits(tmp_path):
    (tmp_path / "tables").mkdir()
    rows = np.zeros((4, 180), int)
    np.savez(tmp_path / "tables" / "dna.npz", x_train=rows, x_valid=rows, x_test=rows + 2)
    with pytest.raises(DataError, match="got integers, expected bits"):
        load("dna", root=tmp_path)
    np.savez(tmp_path / "tables" / "dna.npz", x_train=rows, x_valid=rows)
    with pytest.raises(FileError, match="got rows for train, validation, expected"):
        load("dna", root=tmp_path)
    with pytest.raises(FileError, match=r"tables/plants.npz: not found in .*; put the set's files into"):
        load("plants", root=tmp_path)


# --- CIFAR-10 --------------------------------------------------------------------------------------


BATCHES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
ARCHIVE = "cifar-10-binary.tar.gz"


@pytest.fixture(scope="module")
def batches():
    """Return the six files of CIFAR-10 in little, four images each: labels, pixels, and bytes by name."""
    rng = np.random.default_rng(9)
    labels, pixels = rng.integers(0, 10, (6, 4)), rng.integers(0, 256, (6, 4, 3, 32, 32), np.uint8)
    records = [
        [bytes([label]) + image.tobytes() for label, image in zip(*pair, strict=True)]
        for pair in zip(labels, pixels, strict=True)
    ]
    files = {name: b"".join(each) for name, each in zip(BATCHES, records, strict=True)}
    return labels, pixels, files


def packed(files):
    """Return the archive of files, in an order of its own and beside others, as upstream has it."""
    memory = io.BytesIO()
    inner = {"batches.meta.txt": b"airplane\n", **{name: files[name] for name in sorted(files, reverse=True)}}
    with tarfile.open(fileobj=memory, mode="w:gz", compresslevel=1) as archive:
        folder = tarfile.TarInfo("cifar-10-batches-bin")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in inner.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return memory.getvalue()


def cifar(folder, files, layout="archive"):
    """Lay CIFAR-10 out below a folder in one of the ways in which it may lie there."""
    if layout == "archive":
        lay(folder / "cifar10", {ARCHIVE: packed(files)}, zipped=False)
    else:
        inner = "cifar10/cifar-10-batches-bin" if layout == "extracted" else "cifar10"
        lay(folder / inner, files, zipped=layout == "gzipped")
    return folder


@pytest.mark.parametrize("layout", ["archive", "extracted", "plain", "gzipped"])
def test_cifar_comes_as_bytes_with_a_channel_after_the_other(tmp_path, batches, layout):
    labels, pixels, files = batches
    data = load("cifar10", root=cifar(tmp_path, files, layout), validation=7)
    assert (data.shape, data.kind, data.binarisation) == ((3, 32, 32), "integers", None)
    rows = pixels.reshape(24, 3072)
    for split, own in {"train": slice(13), "validation": slice(13, 20), "test": slice(20, 24)}.items():
        assert getattr(data, split).dtype == torch.uint8
        assert np.array_equal(getattr(data, split).numpy(), rows[own])
        assert data.labels[split].tolist() == labels.ravel()[own].tolist()
    assert data.label_names[9] == "truck"
    blue = files["data_batch_2.bin"][3073 + 1 + 2 * 1024 + 5 * 32 + 7]
    assert data.train[5].view(3, 32, 32)[2, 5, 7] == blue
    means = load("cifar10", root=tmp_path, validation=7, binarisation="none")
    assert (means.levels, means.kind) == (255, "grey levels")
    torch.testing.assert_close(255 * means.test, data.test.float())


@pytest.mark.parametrize(
    ("layout", "name", "spoil", "message"),
    [
        (
            "plain",
            "data_batch_3.bin",
            lambda c: c[:-1],
            "data_batch_3.bin: got 12291 bytes, expected records",
        ),
        ("plain", "test_batch.bin", lambda c: b"", "test_batch.bin: got 0 bytes"),
        ("plain", "data_batch_1.bin", lambda c: b"\x0a" + c[1:], "label 10 in record 0"),
        ("plain", "data_batch_2.bin", lambda c: c[3073:], "got 3 images in data_batch_2.bin, expected 4"),
        ("archive", ARCHIVE, lambda c: c[: len(c) // 2], r"tar\.gz: cannot be read, .*cut short"),
        ("archive", ARCHIVE, lambda c: b"<html></html>", r"tar\.gz: cannot be read"),
    ],
)
def test_cifar_files_that_are_none(tmp_path, batches, layout, name, spoil, message):
    path = cifar(tmp_path, batches[2], layout) / "cifar10" / name
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(FileError, match=message):
        load("cifar10", root=tmp_path, validation=1)


def test_cifar_without_some_batch_or_in_pickles(tmp_path, batches):
    files = {name: content for name, content in batches[2].items() if name != "data_batch_4.bin"}
    with pytest.raises(FileError, match=r"tar\.gz: got an archive without data_batch_4\.bin"):
        load("cifar10", root=cifar(tmp_path / "a", files), validation=1)
    with pytest.raises(FileError, match=r"only some files, missing cifar-10-batches-bin/data_batch_4\.bin"):
        load("cifar10", root=cifar(tmp_path / "b", files, "extracted"), validation=1)
    trace = tmp_path / "trace"
    trap = {name.removesuffix(".bin"): pickle.dumps(Trap(trace)) for name in BATCHES}
    lay(tmp_path / "c" / "cifar10" / "cifar-10-batches-py", trap, zipped=False)
    lay(tmp_path / "d" / "cifar10", {ARCHIVE: packed(trap)}, zipped=False)
    with pytest.raises(FileError, match=r"cifar10/cifar-10-binary\.tar\.gz: not found in"):
        load("cifar10", root=tmp_path / "c")
    with pytest.raises(FileError, match=r"without data_batch_1\.bin"):
        load("cifar10", root=tmp_path / "d")
    assert not trace.exists()


# --- downloads -----------------------------------------------------------------------------------


@pytest.fixture
def server():
    """Serve a dict of paths; a value is the content, or (content, the length it pretends)."""
    files, asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["User-Agent"]))
            if self.path not in files:
                self.send_error(404)
                return
            entry = files[self.path]
            content, length = entry if isinstance(entry, tuple) else (entry, len(entry))
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.files, running.asked = files, asked
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def mirrored(server, small, monkeypatch):
    """Serve the small files under /good/ and let the library believe that they are MNIST."""
    for name, content in small.items():
        server.files[f"/good/{name}.gz"] = gzip.compress(content, 1)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in small.items()}
    monkeypatch.setitem(_download.CHECKSUMS, "mnist", sums)

    def use(*folders):
        urls = tuple(f"{server.url}/{folder}/" for folder in folders)
        monkeypatch.setitem(datasets.MIRRORS, "mnist", urls)

    use("good")
    server.use = use
    return server


def test_a_download_is_kept_and_not_repeated(tmp_path, mirrored):
    data = load("mnist", validation=5)
    assert [len(data.train), len(data.test)] == [25, 10]
    assert len(mirrored.asked) == 4
    assert all("harmonium" in agent for _, agent in mirrored.asked)
    kept = sorted(p.name for p in (tmp_path / "cache" / "mnist").iterdir())
    assert kept == sorted(f"{name}-ubyte.gz" for name in NAMES)
    again = load("mnist", validation=5)
    assert torch.equal(again.train, data.train)
    assert len(mirrored.asked) == 4


def test_an_interrupted_set_is_completed(tmp_path, mirrored):
    load("mnist", validation=5)
    (tmp_path / "cache" / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    load("mnist", validation=5)
    assert [path for path, _ in mirrored.asked[4:]] == ["/good/train-labels-idx1-ubyte.gz"]


def test_another_content_is_refused_and_leaves_nothing(tmp_path, mirrored, small):
    name = "train-images-idx3-ubyte"
    wrong = small[name][:-1] + bytes([small[name][-1] ^ 1])
    mirrored.files[f"/good/{name}.gz"] = gzip.compress(wrong)
    with pytest.raises(FileError, match=f"/good/{name}.gz .its SHA-256 checksum is") as caught:
        load("mnist", validation=5)
    assert str(tmp_path / "cache" / "mnist") in str(caught.value)
    assert "HARMONIUM_DATA" in str(caught.value)
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


@pytest.mark.parametrize("way", ["absent", "cut", "short", "html", "wrong", "closed"])
def test_the_second_mirror_stands_in(tmp_path, mirrored, small, way, monkeypatch):
    for name in small:
        good = mirrored.files[f"/good/{name}.gz"]
        bad = {
            "cut": (good[: len(good) // 2], len(good)),
            "short": good[:-4],
            "html": b"<html>moved</html>",
            "wrong": gzip.compress(b"something else"),
        }
        if way in bad:
            mirrored.files[f"/bad/{name}.gz"] = bad[way]
    mirrored.use("bad", "good")
    if way == "closed":
        monkeypatch.setitem(datasets.MIRRORS, "mnist", ("http://127.0.0.1:9/", f"{mirrored.url}/good/"))
    assert len(load("mnist", validation=5).train) == 25
    kept = sorted(p.name for p in (tmp_path / "cache" / "mnist").iterdir())
    assert kept == sorted(f"{name}-ubyte.gz" for name in NAMES)
    tried = [path.split("/")[1] for path, _ in mirrored.asked]
    assert tried == (["good"] * 4 if way == "closed" else ["bad", "good"] * 4)


def test_an_endless_answer_is_cut_off(tmp_path, mirrored, monkeypatch):
    monkeypatch.setattr(_download, "LIMIT", 10_000)
    with pytest.raises(FileError, match=r"longer than 10000 bytes\)"):
        load("mnist", validation=5)
    for name in NAMES:
        mirrored.files[f"/good/{name}-ubyte.gz"] = gzip.compress(bytes(100_000))
    with pytest.raises(FileError, match=r"longer than 10000 bytes when uncompressed\)"):
        load("mnist", validation=5)
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


def test_an_archive_is_downloaded_as_it_is(tmp_path, server, batches, monkeypatch):
    content = packed(batches[2])
    monkeypatch.setitem(_download.CHECKSUMS, "cifar10", {ARCHIVE: hashlib.sha256(content).hexdigest()})
    monkeypatch.setitem(datasets.MIRRORS, "cifar10", (f"{server.url}/bad/", f"{server.url}/good"))
    server.files[f"/good/{ARCHIVE}"] = content
    again = gzip.compress(gzip.decompress(content), 9)
    server.files[f"/bad/{ARCHIVE}"] = again
    data = load("cifar10", validation=5)
    assert np.array_equal(data.test.numpy(), batches[1][5].reshape(4, -1))
    assert [path for path, _ in server.asked] == [f"/bad/{ARCHIVE}", f"/good/{ARCHIVE}"]
    assert [path.name for path in (tmp_path / "cache" / "cifar10").iterdir()] == [ARCHIVE]
    assert torch.equal(load("cifar10", validation=5).train, data.train)
    assert len(server.asked) == 2
    (tmp_path / "cache" / "cifar10" / ARCHIVE).unlink()
    del server.files[f"/good/{ARCHIVE}"]
    with pytest.raises(FileError, match=r"/bad/cifar-10-binary\.tar\.gz .its SHA-256 checksum is"):
        load("cifar10")
    assert list((tmp_path / "cache" / "cifar10").iterdir()) == []


def test_without_any_mirror_one_error_says_it_all(tmp_path, monkeypatch):
    urls = ("http://127.0.0.1:9/one/", "http://127.0.0.1:9/two/")
    monkeypatch.setitem(datasets.MIRRORS, "fashion-mnist", urls)
    with pytest.raises(FileError) as caught:
        load("fashion-mnist")
    message = str(caught.value)
    for part in (*urls, str(tmp_path / "cache" / "fashion-mnist"), "HARMONIUM_DATA"):
        assert part in message
    assert "\n" not in message


def test_a_cache_that_cannot_be_written_is_said(tmp_path, mirrored, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path / "file"))
    with pytest.raises(FileError, match="file/mnist"):
        load("mnist", validation=5)


def test_mirrors_and_checksums_name_the_same_sets(monkeypatch):
    assert set(_download.MIRRORS) == set(_download.CHECKSUMS)
    for folder, sums in _download.CHECKSUMS.items():
        names = [ARCHIVE] if folder == "cifar10" else sorted(f"{name}-ubyte" for name in NAMES)
        assert sorted(sums) == names
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in sums.values())


# --- summaries, and the real data ----------------------------------------------------------------


def test_baseline_equals_a_naive_loop():
    rng = np.random.default_rng(1)
    train, test = rng.random((40, 5)) < 0.3, rng.random((7, 5)) < 0.4
    train[:, 0], test[0, 0] = False, True
    total = 0.0
    for row in test:
        for j, bit in enumerate(row):
            rate = (train[:, j].sum() + 1) / 42
            total += np.log(rate if bit else 1 - rate)
    got = summary(from_array(train, test=test))["baseline_log_likelihood"]
    assert got == pytest.approx(total / 7, abs=1e-12)


def test_baseline_of_grey_rows_takes_their_means():
    grey = np.array([[0, 128], [255, 64]], np.uint8)
    data = from_array(grey, test=grey, binarisation="sampled")
    rates = (grey.sum(0) / 255 + 1) / 4
    terms = np.where(data.test.numpy() == 1, np.log(rates), np.log1p(-rates))
    assert summary(data)["baseline_log_likelihood"] == pytest.approx(terms.sum(1).mean())


def test_summary_is_json_and_says_what_there_is():
    data = load("digits")
    text = json.loads(json.dumps(summary(data)))
    assert text["rows"] == {"train": 1297, "validation": 250, "test": 250}
    assert text["shape"] == [8, 8]
    assert (text["values"], text["levels"], text["binarisation"]) == ("grey levels", 16, "sampled")
    counts = [sum(text["labels"][k][str(d)] for k in text["rows"]) for d in range(10)]
    assert counts == np.bincount(load_digits().target).tolist()
    assert "CC BY 4.0" in text["source"]
    assert -30 < text["baseline_log_likelihood"] < -20
    for other in (
        load("digits", binarisation="none"),
        from_array(np.array([[0, 2]]), test=np.array([[0, 1]])),
        from_array(np.eye(2)),
    ):
        assert summary(other)["baseline_log_likelihood"] is None


def test_table_and_documentation_name_the_same_sets():
    page = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", page, re.MULTILINE) == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_entries_agree_with_what_they_load(name, request):
    data = load(name) if name in SHIPPED else request.getfixturevalue("real")(name)
    entry = DATASETS[name]
    assert data.shape == entry.shape
    assert data.train.dtype == (torch.float32 if entry.drawn else torch.uint8)
    assert data.train.shape[1] == np.prod(entry.shape)
    assert data.binarisation == entry.binarisation
    assert entry.drawn or int(data.train.max()) == (entry.levels or 1)
    assert data.levels == (entry.levels if entry.binarisation else None)
    total = sum(summary(data)["rows"].values())
    assert f"{total:,}" in entry.description or name == "binarized-mnist"


@pytest.mark.parametrize("name", FLOORS)
def test_independent_bits_have_the_known_likelihood(real, name):
    got = summary(real(name))["baseline_log_likelihood"]
    assert got == pytest.approx(FLOORS[name], abs=0.05)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_images(real, name):
    data = real(name)
    assert [len(data.train), len(data.validation), len(data.test)] == [50_000, 10_000, 10_000]
    assert torch.bincount(data.labels["test"]).sum() == 10_000
    assert data.train.untyped_storage().nbytes() == 50_000 * 784
    assert data.test.dtype == data.validation.dtype == torch.uint8
    if name == "mnist":
        assert data.labels["train"][:5].tolist() == [5, 0, 4, 1, 9]
        assert data.labels["test"][:5].tolist() == [7, 2, 1, 0, 4]
        assert summary(data)["baseline_log_likelihood"] == pytest.approx(-205.8, abs=0.2)


def test_checksums_are_those_of_the_real_files(real):
    real("mnist")
    for name, checksum in _download.CHECKSUMS["mnist"].items():
        path = _download._existing(Path(DATA) / "mnist" / name)
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert hashlib.sha256(content).hexdigest() == checksum


def test_memory_stays_near_a_byte_a_pixel(real):
    real("mnist", validation=0)
    code = (
        "import resource, torch, sklearn.datasets\n"
        "from harmonium.datasets import load\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "load('digits'); before = peak(); load('mnist'); print(peak() - before)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(out.stdout) < 180
