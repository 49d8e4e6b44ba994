"""Databases of images, and images packed into arrays on the disk."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from harmonium.datasets import _lmdb, load, pack
from harmonium.errors import ArgumentError, DataError, FileError

lmdb = pytest.importorskip("lmdb")

SPLITS = ("train", "validation", "test")
WHOLE = {"validation": 0, "test": 0}


def encoded(pixels, kind="webp"):
    """Return the bytes of an image file, without a loss."""
    memory, options = io.BytesIO(), {"lossless": True} if kind == "webp" else {}
    Image.fromarray(np.asarray(pixels, np.uint8)).save(memory, kind, **options)
    return memory.getvalue()


def pixels(n, shape=(6, 8, 3), seed=0):
    """Return n random images."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def database(path, values):
    """Write a database of values by their keys, and close it."""
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return path


@pytest.fixture
def rooms(tmp_path):
    """Return a database of twelve images, and what they are as rows, in the order of the keys."""
    images = pixels(12)
    keys = [f"{(7 * i) % 12:02}-room".encode() for i in range(12)]
    path = database(tmp_path / "room_train_lmdb", {k: encoded(x) for k, x in zip(keys, images, strict=True)})
    order = np.argsort(keys)
    return path, images[order].transpose(0, 3, 1, 2).reshape(12, -1)


def test_images_of_a_database_come_in_the_order_of_their_keys(rooms):
    path, rows = rooms
    data = load(path, **WHOLE)
    assert np.array_equal(data.train.numpy(), rows)
    assert (data.shape, data.train.dtype, data.labels) == ((3, 6, 8), torch.uint8, {})
    again = load(path, **WHOLE)
    assert torch.equal(again.train, data.train)


def test_keys_are_kept_beside_the_database_and_nowhere_else(rooms, tmp_path, monkeypatch):
    path, rows = rooms
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load(path, **WHOLE)
    assert not any((tmp_path / "elsewhere").iterdir())
    index = tmp_path / "room_train_lmdb.keys.npz"
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, index.name, "elsewhere"}
    monkeypatch.setattr(_lmdb, "_keep", None)
    assert np.array_equal(load(path, **WHOLE).train.numpy(), rows)


def test_kept_keys_are_made_anew_when_the_database_has_changed(rooms):
    path, _ = rooms
    load(path, **WHOLE)
    more = pixels(1, seed=1)[0]
    with lmdb.open(str(path), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"00", encoded(more))
        transaction.delete(b"03-room")
    data = load(path, **WHOLE)
    assert len(data.train) == 12
    assert np.array_equal(data.train[0].numpy(), more.transpose(2, 0, 1).ravel())
    _lmdb.Path(f"{path}.keys.npz").write_bytes(b"junk")
    assert torch.equal(load(path, **WHOLE).train, data.train)


def test_keys_are_found_anew_where_they_cannot_be_kept(rooms, monkeypatch):
    path, rows = rooms

    def fail(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(_lmdb, "_keep", fail)
    assert np.array_equal(load(path, **WHOLE).train.numpy(), rows)


def test_a_folder_as_lsun_calls_them_has_splits_and_classes(tmp_path):
    images = pixels(9, (4, 4, 3))
    for name, part in {"kitchen_train": (0, 3), "bedroom_train": (3, 7), "bedroom_val": (7, 9)}.items():
        values = {bytes([i]): encoded(images[i]) for i in range(*part)}
        database(tmp_path / "lsun" / f"{name}_lmdb", values)
    data = load(tmp_path / "lsun", test=0)
    rows = images.transpose(0, 3, 1, 2).reshape(9, -1)
    assert np.array_equal(data.train.numpy(), rows[[3, 4, 5, 6, 0, 1, 2]])
    assert np.array_equal(data.validation.numpy(), rows[7:])
    assert data.label_names == ("bedroom", "kitchen")
    assert data.labels["train"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert load(tmp_path / "lsun" / "kitchen_train_lmdb", **WHOLE).label_names is None
    (tmp_path / "lsun" / "bedroom_train_lmdb").rename(tmp_path / "lsun" / "other")
    (tmp_path / "lsun" / "kitchen_train_lmdb").rename(tmp_path / "lsun" / "more")
    with pytest.raises(FileError, match="got no database for training, expected one called CLASS_train_lmdb"):
        load(tmp_path / "lsun")


def test_images_of_a_database_are_cropped_and_resized_like_files(rooms, tmp_path):
    path, _ = rooms
    (tmp_path / "files").mkdir()
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        for key, value in transaction.cursor():
            (tmp_path / "files" / f"{key.decode()}.webp").write_bytes(value)
    ours, theirs = (load(p, size=4, channels=1, **WHOLE) for p in (path, tmp_path / "files"))
    assert ours.shape == (4, 4)
    assert torch.equal(ours.train, theirs.train)


@pytest.mark.parametrize("kind", ["database", "folder"])
def test_a_limit_takes_some_images_of_each_split_by_the_seed(rooms, tmp_path, kind):
    path, rows = rooms
    if kind == "folder":
        path = tmp_path / "files"
        path.mkdir()
        for i, row in enumerate(rows):
            Image.fromarray(row.reshape(3, 6, 8).transpose(1, 2, 0)).save(path / f"{i:02}.png")
    few = load(path, limit=5, **WHOLE)
    chosen = [int(np.flatnonzero((rows == row).all(1))[0]) for row in few.train.numpy()]
    assert len(chosen) == 5
    assert chosen == sorted(chosen)
    assert chosen != list(range(5))
    assert torch.equal(load(path, limit=5, **WHOLE).train, few.train)
    assert not torch.equal(load(path, limit=5, seed=1, **WHOLE).train, few.train)
    assert len(load(path, limit=99, **WHOLE).train) == 12
    with pytest.raises(ArgumentError, match="limit: got 0"):
        load(path, limit=0)


# --- databases that are wrong ---------------------------------------------------------------------


def test_a_database_that_was_cut_short_is_refused_before_it_is_read(rooms):
    path, _ = rooms
    whole = (path / "data.mdb").stat().st_size
    os.truncate(path / "data.mdb", whole - 4096)
    message = rf"data\.mdb: got {whole - 4096:,} bytes, expected {whole:,}; .*cut short"
    with pytest.raises(FileError, match=message):
        load(path)
    for size in (100, 0):
        os.truncate(path / "data.mdb", size)
        with pytest.raises(FileError, match=r"room_train_lmdb.*(cut short|no LMDB database)"):
            load(path)


def test_a_database_whose_end_is_empty_is_refused_before_it_is_read(tmp_path):
    images = {f"{i:03}".encode(): encoded(x) for i, x in enumerate(pixels(300, (16, 16, 3)))}
    path = database(tmp_path / "rooms", images)
    content = (path / "data.mdb").read_bytes()
    kept = len(content) // 2
    (path / "data.mdb").write_bytes(content[:kept] + bytes(len(content) - kept))
    with pytest.raises(FileError, match=r"data\.mdb: got nothing but zeros in the last [\d,]+ bytes"):
        load(path, skip_broken=True)


def test_a_database_is_found_in_the_working_directory(rooms, monkeypatch):
    path, rows = rooms
    (path / "inner").mkdir()
    for place, name in ((path, "."), (path / "inner", "..")):
        monkeypatch.chdir(place)
        assert np.array_equal(load(name, **WHOLE).train.numpy(), rows)
        path.with_name("room_train_lmdb.keys.npz").unlink()
    assert sorted(file.name for file in path.rglob("*")) == ["data.mdb", "inner", "lock.mdb"]


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / "data.mdb").write_bytes(bytes(np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)))
    with pytest.raises(FileError, match="no LMDB database, or a damaged one"):
        load(tmp_path)
    with pytest.raises(FileError, match="without images"):
        load(database(tmp_path / "empty", {}))


def test_a_broken_image_of_a_database_is_named_or_left_out_and_counted(tmp_path):
    images = pixels(4)
    values = {b"a": encoded(images[0]), b"b\xff": b"no image", b"c": encoded(images[2]), b"d": b""}
    path = database(tmp_path / "odd", values)
    with pytest.raises(FileError, match=r"odd: key b\\xff: cannot be decoded .*skip_broken=True"):
        load(path, **WHOLE)
    data = load(path, skip_broken=True, **WHOLE)
    assert np.array_equal(data.train.numpy(), images[[0, 2]].transpose(0, 3, 1, 2).reshape(2, -1))
    assert "Left out as broken: 2, the first" in data.source


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (pixels(1, (8, 6, 3))[0], r"key b: got an image of 8 x 6 pixels, but .*key a is of 6 x 8 .*size=N"),
        (pixels(1, (6, 8))[0], r"key b: got an image in grey, but .*key a is in colour; .*channels"),
    ],
)
def test_images_of_a_database_that_differ_are_refused(tmp_path, other, message):
    path = database(tmp_path / "mixed", {b"a": encoded(pixels(1)[0]), b"b": encoded(other, "png")})
    with pytest.raises(DataError, match=message):
        load(path)


def test_without_the_package_a_database_says_what_to_install(rooms, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lmdb", None)
    with pytest.raises(FileError, match=r"pip install 'harmonium\[lsun\]'"):
        load(rooms[0])


# --- packed images --------------------------------------------------------------------------------


@pytest.fixture
def pets(tmp_path):
    """Return a folder of images of two classes."""
    for number, image in enumerate(pixels(20, (8, 9, 3))):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "pets"


def test_packed_images_are_the_rows_of_load_and_stay_on_the_disk(pets, tmp_path):
    settings = {"size": 5, "validation": 3, "test": 0.2, "seed": 4}
    out = pack(pets, tmp_path / "packed", **settings)
    ours, theirs = load(out), load(pets, **settings)
    for split in SPLITS:
        assert torch.equal(getattr(ours, split), getattr(theirs, split))
        assert torch.equal(ours.labels[split], theirs.labels[split])
    assert (ours.shape, ours.label_names, ours.kind) == ((3, 5, 5), ("cat", "dog"), "integers")
    assert [len(getattr(ours, split)) for split in SPLITS] == [13, 3, 4]
    file = np.load(out / "x_train.npy", mmap_mode="r+")
    file[2] = 255 - file[2]
    file.flush()
    assert torch.equal(ours.train[2], 255 - theirs.train[2])
    ours.train[3] = 0
    assert torch.equal(load(out).train[3], theirs.train[3])


def test_splits_that_packed_images_lack_are_empty_unless_asked_for(pets, tmp_path):
    out = pack(pets, tmp_path / "packed", validation=0, test=0)
    data = load(out)
    assert [len(getattr(data, split)) for split in SPLITS] == [20, 0, 0]
    assert [len(getattr(load(out, test=5), split)) for split in SPLITS] == [15, 0, 5]
    with pytest.raises(ArgumentError, match=r"size: got 3, .*: images in .* are packed already"):
        load(out, size=3)


def test_packing_takes_databases_limits_and_broken_files(rooms, tmp_path):
    path, _ = rooms
    settings = {"limit": 7, "validation": 2, "test": 0, "seed": 1}
    out = pack(path, tmp_path / "packed", **settings)
    assert torch.equal(load(out).train, load(path, **settings).train)
    odd = database(tmp_path / "odd", {b"a": encoded(pixels(1)[0]), b"b": b"no image"})
    data = load(pack(odd, tmp_path / "some", skip_broken=True, validation=0, test=0))
    assert len(data.train) == 1
    assert "Left out as broken: 1" in data.source


def test_nothing_is_overwritten_and_nothing_half_packed_is_left(pets, tmp_path):
    out = tmp_path / "packed"
    (pets / "cat" / "10.png").write_bytes(b"no image")
    with pytest.raises(FileError, match=r"10\.png: cannot be decoded"):
        pack(pets, out)
    assert {entry.name for entry in tmp_path.iterdir()} == {"pets"}
    out.mkdir()
    with pytest.raises(FileError, match=r"out: there is something at .*packed already"):
        pack(pets, out)
    with pytest.raises(FileError, match="there is no such folder"):
        pack(tmp_path / "nowhere", tmp_path / "new")
    for settings in ({"size": 0}, {"channels": 2}, {"limit": True}, {"validation": -1}, {"skip_broken": 1}):
        (name,) = settings
        with pytest.raises(ArgumentError, match=f"{name}: got"):
            pack(pets, tmp_path / "new", **settings)


def test_arrays_that_are_damaged_are_refused(pets, tmp_path):
    out = pack(pets, tmp_path / "packed")
    os.truncate(out / "x_train.npy", 500)
    with pytest.raises(FileError, match=r"x_train\.npy: no plain array; damaged"):
        load(out)
    other = pack(pets, tmp_path / "other")
    (other / "about.json").write_text("{")
    with pytest.raises(FileError, match=r"about\.json: damaged, expected a JSON object"):
        load(other)
