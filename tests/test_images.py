"""Images: folders of them that are right and wrong, patches, and what the command line makes of both."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from typer.testing import CliRunner

from harmonium.cli import app
from harmonium.datasets import _patches, from_array, load, summary
from harmonium.errors import ArgumentError, DataError, FileError

SPLITS = ("train", "validation", "test")
WHOLE = {"validation": 0, "test": 0}


def write(path, pixels, **options):
    """Write pixels of shape (height, width) or (height, width, channels) to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


@pytest.fixture
def colours(tmp_path):
    """Return a folder, and what its images should be as rows: in the order of their paths, channels first."""
    rng = np.random.default_rng(3)
    names = ("b/2.png", "a.bmp", "b/10.PNG", "c.tiff", "b/deep/x.webp", "Z.ppm")
    pixels = {name: rng.integers(0, 256, (5, 4, 3), np.uint8) for name in names}
    for name, each in pixels.items():
        options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
        write(tmp_path / "photos" / name, each, **options)
    write(tmp_path / "photos" / ".hidden.png", np.zeros((9, 9)))
    write(tmp_path / "photos" / ".cache" / "small.png", np.zeros((2, 2)))
    (tmp_path / "photos" / "about.txt").write_text("no image")
    rows = [pixels[name].transpose(2, 0, 1).ravel() for name in sorted(names)]
    return tmp_path / "photos", np.stack(rows)


# --- folders --------------------------------------------------------------------------------------


def test_images_are_read_in_the_order_of_their_paths(colours):
    folder, rows = colours
    data = load(folder, **WHOLE)
    assert np.array_equal(data.train.numpy(), rows)
    assert (data.shape, data.train.dtype, data.kind) == ((3, 5, 4), torch.uint8, "integers")
    assert (data.name, data.labels, data.label_names, data.binarisation) == ("photos", {}, None, None)
    assert str(folder) in data.source


def test_the_red_channel_comes_first_then_line_by_line(tmp_path):
    pixels = np.zeros((2, 3, 3))
    pixels[1, 2] = 10, 20, 30
    write(tmp_path / "photos" / "one.png", pixels)
    data = load(tmp_path / "photos", **WHOLE)
    assert [(int(i), int(data.train[0, i])) for i in data.train[0].nonzero()] == [(5, 10), (11, 20), (17, 30)]


def test_a_folder_splits_by_the_seed_like_a_file(colours):
    folder, rows = colours
    data, other = load(folder, validation=2, test=0.2, seed=1), load(folder, validation=2, test=0.2, seed=2)
    assert [len(getattr(data, split)) for split in SPLITS] == [3, 2, 1]
    together = torch.cat([getattr(data, split) for split in SPLITS]).numpy()
    assert sorted(map(bytes, together)) == sorted(map(bytes, rows))
    assert torch.equal(data.train, load(folder, validation=2, test=0.2, seed=1).train)
    assert not torch.equal(data.train, other.train)


def test_sub_folders_are_classes_if_every_image_is_in_one(tmp_path):
    for number, name in enumerate(("dog/1.png", "cat/2.png", "cat/more/0.png", "cow/9.png")):
        write(tmp_path / "pets" / name, np.full((2, 2), number))
    data = load(tmp_path / "pets", **WHOLE)
    assert data.label_names == ("cat", "cow", "dog")
    assert data.train[:, 0].tolist() == [1, 2, 3, 0]
    assert data.labels["train"].tolist() == [0, 0, 1, 2]
    assert summary(data)["labels"] == {"train": {"cat": 2, "cow": 1, "dog": 1}, "validation": {}, "test": {}}
    assert load(tmp_path / "pets", with_labels=True, **WHOLE).train[:, -1].tolist() == [0, 0, 1, 2]
    write(tmp_path / "pets" / "stray.png", np.zeros((2, 2)))
    assert load(tmp_path / "pets", **WHOLE).labels == {}


@pytest.mark.parametrize("validation", ["validation", "valid", "val", None])
@pytest.mark.parametrize("above", [".", "images"])
def test_train_validation_and_test_are_splits(tmp_path, validation, above):
    layout = {"train": range(8), "test": range(20, 23)} | ({validation: range(10, 12)} if validation else {})
    for split, numbers in layout.items():
        for number in numbers:
            name = f"{'even' if number % 2 == 0 else 'odd'}/{number}.png"
            write(tmp_path / "set" / above / split / name, np.full((2, 2), number))
    data = load(tmp_path / "set", **({} if validation else {"validation": 3}))
    found = {split: set(getattr(data, split)[:, 0].tolist()) for split in SPLITS}
    assert found["test"] == {20, 21, 22}
    if validation:
        assert (found["train"], found["validation"]) == (set(range(8)), {10, 11})
    else:
        assert found["train"] | found["validation"] == set(range(8))
        assert len(found["validation"]) == 3
    assert data.label_names == ("even", "odd")
    for split in SPLITS:
        assert torch.equal(data.labels[split], getattr(data, split)[:, 0].long() % 2)
    with pytest.raises(ArgumentError, match="test: got 1, expected None"):
        load(tmp_path / "set", test=1)


def test_splits_beside_something_else_are_refused(tmp_path):
    for name in ("train/1.png", "test/2.png", "extra/3.png"):
        write(tmp_path / "set" / name, np.zeros((2, 2)))
    with pytest.raises(FileError, match=r"set: got extra, test, train; expected train, validation and test"):
        load(tmp_path / "set")
    (tmp_path / "set" / "extra").rename(tmp_path / "set" / "val")
    write(tmp_path / "set" / "valid" / "3.png", np.zeros((2, 2)))
    with pytest.raises(FileError, match="got test, train, val, valid; expected"):
        load(tmp_path / "set")
    for name in ("train/1.png", "lorry/2.png"):
        write(tmp_path / "vehicles" / name, np.zeros((2, 2)))
    assert load(tmp_path / "vehicles", **WHOLE).label_names == ("lorry", "train")


def test_size_crops_about_the_centre(tmp_path):
    wide, high = np.full((6, 15), 200), np.full((15, 6), 200)
    wide[:, 4:10] = 100
    high[4:10] = 100
    write(tmp_path / "photos" / "high.png", high)
    write(tmp_path / "photos" / "wide.png", wide)
    for size in (3, 6, 8):
        data = load(tmp_path / "photos", size=size, **WHOLE)
        assert data.shape == (size, size)
        assert (data.train == 100).all()


def test_size_resizes_with_antialiasing(tmp_path):
    stripes = np.tile([0, 255], (32, 16))
    write(tmp_path / "photos" / "stripes.png", stripes)
    small = load(tmp_path / "photos", size=8, **WHOLE).train.view(8, 8)[:, 1:-1].double()
    assert (small - 127.5).abs().max() < 10


def test_channels_turn_colour_into_grey_and_grey_into_colour(tmp_path):
    rng = np.random.default_rng(5)
    colour, grey = rng.integers(0, 256, (4, 6, 3)), rng.integers(0, 256, (4, 6))
    write(tmp_path / "photos" / "1.png", colour)
    write(tmp_path / "photos" / "2.png", grey)
    three = load(tmp_path / "photos", channels=3, **WHOLE)
    assert three.shape == (3, 4, 6)
    assert np.array_equal(three.train[1].view(3, 4, 6).numpy(), np.stack([grey] * 3))
    one = load(tmp_path / "photos", channels=1, **WHOLE)
    assert one.shape == (4, 6)
    assert np.array_equal(one.train[1].view(4, 6).numpy(), grey)
    luma = colour @ [0.299, 0.587, 0.114]
    assert np.abs(one.train[0].view(4, 6).numpy() - luma).max() <= 1
    with pytest.raises(
        DataError, match=r"2\.png: got an image in grey, but .*1\.png is in colour; .*channels"
    ):
        load(tmp_path / "photos")


def test_sizes_that_differ_are_refused_unless_one_is_stated(tmp_path):
    write(tmp_path / "photos" / "1.png", np.zeros((4, 6)))
    write(tmp_path / "photos" / "2.png", np.zeros((6, 4)))
    with pytest.raises(DataError, match=r"2\.png: .* 6 x 4 pixels, but .*1\.png is of 4 x 6 .*size=N"):
        load(tmp_path / "photos")
    assert load(tmp_path / "photos", size=4, **WHOLE).shape == (4, 4)


@pytest.mark.parametrize("kind", ["cut", "text", "empty"])
def test_a_broken_file_is_named_or_left_out_and_counted(tmp_path, kind):
    rng = np.random.default_rng(0)
    for number in range(4):
        write(tmp_path / "pets" / "ab"[number % 2] / f"{number}.png", rng.integers(0, 256, (30, 30)))
    first, second = tmp_path / "pets" / "a" / "0.png", tmp_path / "pets" / "b" / "3.png"
    content = {"cut": first.read_bytes()[:300], "text": b"<html>gone</html>", "empty": b""}[kind]
    whole = load(tmp_path / "pets", **WHOLE)
    first.write_bytes(content)
    second.write_bytes(content)
    with pytest.raises(FileError, match=r"a/0\.png: cannot be decoded .*skip_broken=True"):
        load(tmp_path / "pets", **WHOLE)
    data = load(tmp_path / "pets", skip_broken=True, **WHOLE)
    assert torch.equal(data.train, whole.train[1:3])
    assert data.labels["train"].tolist() == [0, 1]
    assert f"Left out as broken: 2, the first {first}" in data.source
    for path in (tmp_path / "pets").rglob("*.png"):
        path.write_bytes(content)
    with pytest.raises(FileError, match="got 4 broken images"):
        load(tmp_path / "pets", skip_broken=True)


def test_images_that_bytes_without_alpha_cannot_hold(tmp_path):
    def refuse(name, message):
        with pytest.raises(DataError, match=rf"{name}: .*{message}"):
            load(tmp_path / name[:1], skip_broken=True)

    clear = np.full((3, 3, 4), 255)
    write(tmp_path / "o" / "o.png", clear)
    assert load(tmp_path / "o", **WHOLE).shape == (3, 3, 3)
    clear[1, 1, 3] = 254
    write(tmp_path / "c" / "c.png", clear)
    refuse("c.png", "transparent pixels")
    (tmp_path / "d").mkdir()
    Image.fromarray(np.full((3, 3), 1000, np.uint16)).save(tmp_path / "d" / "d.png")
    refuse("d.png", "mode I;16, expected 8 bits")
    (tmp_path / "f").mkdir()
    frames = [Image.fromarray(np.full((3, 3), grey, np.uint8)) for grey in (0, 200)]
    frames[0].save(tmp_path / "f" / "f.gif", save_all=True, append_images=frames[1:])
    refuse("f.gif", "2 frames, expected one")


def test_palettes_are_colours_and_bits_are_grey(tmp_path):
    pixels = np.random.default_rng(1).choice([0, 60, 255], (4, 4, 3)).astype(np.uint8)
    for name in ("palette", "bits"):
        (tmp_path / name).mkdir()
    Image.fromarray(pixels).quantize(27).save(tmp_path / "palette" / "1.png")
    read = load(tmp_path / "palette", **WHOLE).train.view(3, 4, 4).numpy()
    assert np.array_equal(read, pixels.transpose(2, 0, 1))
    Image.fromarray(pixels[..., 0] > 100).save(tmp_path / "bits" / "1.png")
    data = load(tmp_path / "bits", **WHOLE)
    assert data.shape == (4, 4)
    assert np.array_equal(data.train.view(4, 4).numpy(), 255 * (pixels[..., 0] > 100))


@pytest.mark.parametrize("orientation", range(10))
def test_the_orientation_of_the_camera_is_followed(tmp_path, orientation):
    pixels = np.random.default_rng(2).integers(0, 256, (4, 7), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / "photos" / "1.png", pixels, exif=exif)
    data = load(tmp_path / "photos", **WHOLE)
    with Image.open(path) as file:
        upright = np.asarray(ImageOps.exif_transpose(file))
    assert data.shape == upright.shape
    assert np.array_equal(data.train.view(*data.shape).numpy(), upright)
    if orientation == 6:
        assert np.array_equal(upright, np.rot90(pixels, -1))


def test_good_pixels_beside_odd_notes_of_the_camera(tmp_path):
    """The maker of the camera is text by the standard, and a fraction here."""
    maker, turned = struct.pack("<HHII", 0x010F, 5, 1, 38), struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    notes = b"II*\0" + struct.pack("<IH", 8, 2) + maker + turned + struct.pack("<III", 0, 1, 1)
    path = write(tmp_path / "photos" / "1.jpg", np.zeros((4, 7)), exif=b"Exif\0\0" + notes)
    with Image.open(path) as file, pytest.raises(AttributeError):
        ImageOps.exif_transpose(file)
    assert load(tmp_path / "photos", **WHOLE).shape == (7, 4)


def test_readers_that_stumble_name_the_file(tmp_path):
    """A TIFF file whose second image has no size."""
    path = write(tmp_path / "photos" / "1.tiff", np.zeros((4, 4)))
    content = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * entries, len(content))
    path.write_bytes(bytes(content) + struct.pack("<HI", 0, 0))
    with Image.open(path) as file, pytest.raises(TypeError):
        _ = file.n_frames
    with pytest.raises(FileError, match=r"1\.tiff: cannot be decoded .*skip_broken=True"):
        load(tmp_path / "photos", **WHOLE)
    write(tmp_path / "photos" / "2.tiff", np.zeros((4, 4)))
    (tmp_path / "photos" / "3.tiff").symlink_to(tmp_path / "gone.tiff")
    data = load(tmp_path / "photos", skip_broken=True, **WHOLE)
    assert len(data.train) == 1
    assert "Left out as broken: 2, the first" in data.source


def test_folders_without_images_and_settings_of_other_sources(tmp_path, colours):
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("1,2")
    with pytest.raises(FileError, match=r"none: got no images, expected files that end in .*\.png"):
        load(tmp_path / "none")
    folder, _ = colours
    np.save(tmp_path / "rows.npy", np.zeros((4, 2)))
    for settings in ({"size": 4}, {"channels": 1}, {"skip_broken": True}):
        (name,) = settings
        for source in ("digits", tmp_path / "rows.npy"):
            with pytest.raises(ArgumentError, match=f"{name}: .*only for folders of images"):
                load(source, **settings)
    for name, value in {"size": 0, "channels": 2, "skip_broken": "yes"}.items():
        with pytest.raises(ArgumentError, match=f"{name}: got {value!r}"):
            load(folder, **{name: value})
    with pytest.raises(ArgumentError, match="delimiter: got ';'"):
        load(folder, delimiter=";")


def test_a_folder_of_grey_images_can_be_binarised(tmp_path):
    for number in (0, 51, 102):
        write(tmp_path / "grey" / f"{number}.png", np.full((2, 2), number))
    data = load(tmp_path / "grey", binarisation="none", validation=1, test=0)
    assert (data.levels, data.kind) == (255, "grey levels")
    both = [*data.train[:, 0].tolist(), round(255 * data.validation[0, 0].item())]
    assert sorted(both) == [0, 51, 102]


def test_decoding_takes_the_memory_of_the_result(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    for number, pixels in enumerate(images):
        write(tmp_path / "photos" / f"{number:03}.bmp", pixels)
    load(tmp_path / "photos", **WHOLE)
    tracemalloc.start()
    data = load(tmp_path / "photos", **WHOLE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.train.untyped_storage().nbytes() == images.nbytes
    assert images.nbytes < peak < 1.5 * images.nbytes


# --- patches --------------------------------------------------------------------------------------


def numbered(n, shape):
    """Return images whose pixels are numbers that occur once."""
    return np.arange(n * np.prod(shape), dtype=np.int32).reshape(n, *shape)


@pytest.mark.parametrize("shape", [(3, 7, 9), (7, 9)])
def test_patches_equal_the_pixels_that_they_are_cut_from(shape):
    images = numbered(20, shape)
    data = from_array(images, patches=4, patches_per_image=5)
    assert data.shape == (*shape[:-2], 4, 4)
    assert (data.kind, data.train.dtype, len(data.train)) == ("reals", torch.float32, 100)
    for row, patch in enumerate(data.train.view(-1, *data.shape).long().numpy()):
        number, *_, top, left = np.unravel_index(patch.flat[0], images.shape)
        assert number == row // 5
        assert np.array_equal(patch, images[number, ..., top : top + 4, left : left + 4])


def test_patches_are_of_the_images_of_their_split():
    images = numbered(30, (3, 6, 6))
    data = from_array(
        images, labels=np.arange(30), validation=6, test=0.3, patches=2, patches_per_image=3, seed=4
    )
    plain = from_array(images, labels=np.arange(30), validation=6, test=0.3, seed=4)
    origins = {}
    for split in SPLITS:
        origin = getattr(data, split)[:, 0].long() // images[0].size
        assert torch.equal(origin, plain.labels[split].repeat_interleave(3))
        assert torch.equal(origin, data.labels[split])
        origins[split] = set(origin.tolist())
    assert [len(origins[split]) for split in SPLITS] == [15, 6, 9]
    assert len(set.union(*origins.values())) == 30


def test_patches_come_from_every_place_equally_often():
    data = from_array(numbered(300, (4, 6)), patches=2, patches_per_image=40)
    first = data.train[:, 0].long() % 24
    counts = torch.bincount(first, minlength=24).view(4, 6)[:3, :5].double().flatten()
    assert counts.sum() == 12_000
    chi = ((counts - 800).square() / 800).sum()
    assert abs(chi - 14) < 4 * 28**0.5


def test_a_patch_depends_on_seed_split_image_and_number_alone(monkeypatch):
    images = numbered(12, (8, 8))

    def patches(n, per_image, split="train", seed=0):
        more = {} if split == "train" else {split: images[:n]}
        data = from_array(images[:n], **more, patches=3, patches_per_image=per_image, seed=seed)
        return getattr(data, split).view(n, per_image, 9)

    whole = patches(12, 6)
    assert torch.equal(patches(12, 6), whole)
    assert torch.equal(patches(5, 6), whole[:5])
    assert torch.equal(patches(12, 2), whole[:, :2])
    assert not torch.equal(patches(12, 6, seed=1), whole)
    assert not torch.equal(patches(12, 6, split="test"), whole)
    monkeypatch.setattr(_patches, "BLOCK", 5)
    assert torch.equal(patches(12, 6), whole)


def test_patches_of_bytes_and_of_whole_images():
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), np.uint8)
    data = from_array(images, test=images[:2], patches=4)
    assert np.array_equal(data.train.numpy(), images.reshape(5, -1))
    assert np.array_equal(data.test.numpy(), images[:2].reshape(2, -1))
    assert (data.validation.shape, data.train.dtype) == ((0, 48), torch.float32)


def test_patches_that_cannot_be_cut():
    images = np.zeros((4, 5, 8))
    with pytest.raises(ArgumentError, match="patches: got 6, expected at most 5: images have 5 x 8"):
        from_array(images, patches=6)
    with pytest.raises(ArgumentError, match=r"patches: got rows of shape \(3,\)"):
        from_array(np.zeros((4, 3)), patches=2)
    with pytest.raises(ArgumentError, match="patches_per_image: got 3, expected None unless patches"):
        from_array(images, patches_per_image=3)
    with pytest.raises(ArgumentError, match="binarisation: got 'sampled', expected None: patches"):
        load("digits", patches=3, binarisation="sampled")
    for name in ("patches", "patches_per_image"):
        for value in (0, -1, 2.0, True):
            with pytest.raises(ArgumentError, match=f"{name}: got {value}"):
                from_array(images, **{"patches": 2, name: value})


def test_patches_of_a_named_set_are_of_its_grey_levels():
    data = load("digits", patches=3, patches_per_image=2)
    assert (data.binarisation, data.levels, data.shape) == (None, None, (3, 3))
    assert [len(getattr(data, split)) for split in SPLITS] == [2594, 500, 500]
    assert data.train.max() == 16
    assert torch.equal(data.fixed(rows=7), data.train[:7])


# --- the command line -----------------------------------------------------------------------------


def harmonium(*arguments):
    """Run a command that must succeed, and return the JSON object that it prints."""
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_patches_in_colour_go_through_a_run(tmp_path, monkeypatch, colours):
    monkeypatch.chdir(tmp_path)
    pairs = (
        "size=5",
        "patches=4",
        "patches_per_image=8",
        "transform=zca",
        "epsilon=0.5",
        "validation=1",
        "test=1",
    )
    told = harmonium("data", "photos", *(word for pair in pairs for word in ("--set", pair)))
    assert told["shape"] == [3, 4, 4]
    assert told["rows"] == {"train": 32, "validation": 8, "test": 8}
    assert (told["values"], told["transform"]) == ("reals", "zca, epsilon 0.5")
    words = (w for p in (*(f"data.{p}" for p in pairs), "hidden=2", "samples_every=1") for w in ("--set", p))
    harmonium("train", "rbm", "--data", "photos", "--out", "run", "--set", "epochs=1", *words)
    config = json.loads(Path("run", "config.json").read_text())
    assert config["model"]["config"]["visible"]["kind"] == "gaussian"
    assert Path(config["data"]["source"]) == colours[0].resolve()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert harmonium("evaluate", "../run", "--method", "exact")["rows"] == 8
    harmonium("sample", "../run", "--out", "x.npy", "--n", "3", "--steps", "2")
    assert np.load("x.npy").shape == (3, 48)
