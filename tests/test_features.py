"""Nets that make features: the same weights everywhere, trained once, kept, and told apart."""

import hashlib
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from harmonium.datasets import from_array
from harmonium.errors import ArgumentError, DataError, FileError
from harmonium.features import (
    Images,
    Inception,
    RandomFeatures,
    _cached,
    _inception,
    _stacked,
    classifier_for,
    images_of,
    train_classifier,
    training_images,
)
from harmonium.metrics import frechet_distance
from harmonium.random import Stream


def bars(n, side=12, seed=0):
    """Return grey images of a bar, upright or level, with noise, and which of both it is."""
    rng = np.random.default_rng(seed)
    images, marks = rng.integers(0, 60, (n, side, side)).astype(np.uint8), rng.integers(0, 2, n)
    for image, mark, place in zip(images, marks, rng.integers(0, side, n), strict=True):
        image[(slice(None), place) if mark else (place, slice(None))] = 250
    return images, marks


def bar_data(**options):
    """Return a data set of bars, whose labels are 3 and 8."""
    images, marks = bars(400)
    labels = np.where(marks, 8, 3)
    return from_array(images, labels=labels, validation=100, test=100, **options)


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("binarisation", ["none", "sampled", "threshold", None])
def test_rows_become_numbers_from_zero_to_one(binarisation):
    data = bar_data(binarisation=binarisation)
    for split in ("train", "test"):
        images = training_images(data) if split == "train" else images_of(data, split)
        expected = data.fixed(split).float() / (255 if binarisation is None else 1)
        assert images.shape == (1, 12, 12)
        torch.testing.assert_close(images.take(slice(None)).flatten(1), expected)
    labelled = data.with_labels()
    assert torch.equal(images_of(labelled, "test").rows, images_of(data, "test").rows)
    with pytest.raises(DataError, match=r"data: got rows of shape \(3,\) in array, expected images"):
        images_of(from_array(np.eye(3)), "train")


def test_a_map_of_blocks_is_that_of_the_whole():
    images = Images(torch.arange(1200 * 4).view(1200, 4).remainder(256), (1, 2, 2), 255)
    whole = images.take(slice(None)).square().flatten(1)
    assert torch.equal(images.map(lambda x: x.square().flatten(1)), whole)


# --- random nets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 32, 32), (3, 64, 64), (4, 28, 32), (1, 8, 8)])
def test_random_nets_make_features_of_one_to_four_channels(shape):
    rows = torch.rand(6, torch.Size(shape).numel(), generator=torch.Generator().manual_seed(0))
    found = RandomFeatures(shape[0], seed=1).features(Images(rows, shape, 1))
    assert found.shape == (6, 128)
    assert found.isfinite().all()
    assert 0.01 < found.std() < 10
    assert not torch.equal(found[0], found[1])


def test_the_weights_of_a_random_net_are_those_of_its_seed():
    net, again, other = RandomFeatures(3, 5), RandomFeatures(3, 5), RandomFeatures(3, 6)
    stream = Stream(5).child("random features")
    first = stream.normal(32, 48).view(32, 3, 4, 4)
    assert torch.allclose(net.weight_0, first * (2 / 1.04 / 48) ** 0.5)
    assert all(torch.equal(a, b) for a, b in zip(net.buffers(), again.buffers(), strict=True))
    assert not torch.equal(net.weight_0, other.weight_0)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    RandomFeatures(1)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ArgumentError, match="channels: got 5"):
        RandomFeatures(5)
    with pytest.raises(DataError, match=r"images: got shape \(1, 7, 9\), expected sides of at least 8"):
        RandomFeatures(1).features(Images(torch.zeros(2, 63), (1, 7, 9), 1))


def test_distances_on_random_features_grow_with_noise():
    clean, others = (torch.from_numpy(bars(300, seed=seed)[0]).flatten(1) for seed in (0, 1))
    noise = torch.randn(others.shape, generator=torch.Generator().manual_seed(0))
    features = RandomFeatures(1).features
    real = features(Images(clean, (1, 12, 12), 255))
    found = [
        frechet_distance(real, features(Images(others + scale * noise, (1, 12, 12), 255)))
        for scale in (0, 60, 120)
    ]
    assert 2 * found[0] < found[1] < found[2] / 2


# --- classifiers ----------------------------------------------------------------------------------


def test_a_classifier_learns_and_is_repeated_by_its_seed():
    images, marks = bars(300)
    train = Images(torch.from_numpy(images).flatten(1), (1, 12, 12), 255)
    test, expected = bars(200, seed=1)
    net, again = (
        train_classifier(train, torch.from_numpy(marks), 2, epochs=4, batch_size=30) for _ in range(2)
    )
    guessed = net.predict(Images(torch.from_numpy(test).flatten(1), (1, 12, 12), 255))
    assert (guessed.numpy() == expected).mean() > 0.9
    assert net.digest == again.digest
    other = train_classifier(train, torch.from_numpy(marks), 2, seed=1, epochs=1)
    assert other.digest != net.digest
    assert net.features(train).shape == (300, 128)
    with pytest.raises(DataError, match=r"labels: got shape \(3,\), expected \(300,\)"):
        train_classifier(train, torch.zeros(3, dtype=torch.int64), 2)
    with pytest.raises(DataError, match="labels: got 0 to 2, expected classes from 0 to 1"):
        train_classifier(train, torch.arange(300) % 3, 2)
    for name in ("epochs", "batch_size"):
        with pytest.raises(ArgumentError, match=f"{name}: got 0, expected a positive number"):
            train_classifier(train, torch.from_numpy(marks), 2, **{name: 0})


def test_a_classifier_is_trained_once_and_kept_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path))
    data, told = bar_data(), []
    net = classifier_for(data, epochs=2, progress=told.append)
    (path,) = (tmp_path / "features").iterdir()
    assert path.name.startswith("classifier-")
    assert len(told) == 2
    names = torch.tensor([3, 8])
    right = names[net.predict(images_of(data, "validation"))] == data.labels["validation"]
    assert net.accuracy == pytest.approx(float(right.double().mean()))
    monkeypatch.setattr(_cached, "train_classifier", None)
    kept = classifier_for(bar_data(), epochs=2)
    assert (kept.digest, kept.accuracy, kept.seed) == (net.digest, net.accuracy, 0)
    for change in ({"seed": 1}, {"epochs": 3}):
        with pytest.raises(TypeError):
            classifier_for(data, **{"epochs": 2, **change})
    data.train[0, 0] += 1
    with pytest.raises(TypeError):
        classifier_for(data, epochs=2)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileError, match="classifier-"):
        classifier_for(bar_data(), epochs=2)


def test_few_rows_are_shown_more_often(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(_cached, "train_classifier", lambda *_, epochs, **__: seen.append(epochs) or 1 / 0)
    data = bar_data()
    for shown in (100, 2000):
        monkeypatch.setattr(_cached, "SHOWN", shown)
        with pytest.raises(ZeroDivisionError):
            classifier_for(data, folder=tmp_path)
    assert seen == [3, 10]


def test_a_cache_that_cannot_be_made_is_told_of_before_the_training(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(_cached, "train_classifier", None)
    with pytest.raises(FileError, match=r"file: cannot be made"):
        classifier_for(bar_data(), folder=tmp_path / "file")


def test_without_labels_there_is_no_classifier():
    with pytest.raises(DataError, match="got no labels of the training rows of array"):
        classifier_for(from_array(bars(20)[0]))


def test_stacked_digits_are_read_channel_by_channel():
    rows = torch.tensor([[4, 4, 0, 0, 7, 7], [1, 1, 2, 2, 3, 3]])
    means = SimpleNamespace(
        seed=0,
        digest="",
        accuracy=None,
        predict=lambda images: images.rows.double().mean(1).long(),
        features=lambda images: images.rows,
    )
    net = _stacked.ByChannel(means)
    assert net.predict(Images(rows, (3, 1, 2), 255)).tolist() == [407, 123]
    assert torch.equal(net.features(Images(rows, (3, 1, 2), 255)), rows)
    data = from_array(rows.view(2, 3, 1, 2).numpy(), labels=np.array([407, 123]))
    images, labels = _stacked.digits(data, "train", 5)
    assert (len(images), images.shape) == (5, (1, 1, 2))
    assert labels.tolist() == [4, 0, 7, 1, 2] == images.rows[:, 0].tolist()


def test_stacked_digits_held_out_are_as_bright_as_those_for_training():
    grey = np.arange(0, 240, 20, dtype=np.uint8).reshape(2, 3, 1, 2)
    names = np.array([407, 123])
    data = from_array(
        grey, labels={"train": names, "validation": names}, validation=grey, levels=255, binarisation="none"
    )
    train, held_out = (_stacked.digits(data, split, 6)[0] for split in ("train", "validation"))
    assert torch.equal(train.take(slice(0, 6)), held_out.take(slice(0, 6)))
    assert held_out.take(slice(5, 6)).max() == pytest.approx(220 / 255)


# --- Inception ------------------------------------------------------------------------------------


class Means(torch.nn.Module):
    """Stands for Inception: takes bytes in three channels, and returns their means."""

    def forward(self, images: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return images.double().mean((2, 3))


@pytest.fixture
def weights(tmp_path):
    """Return a TorchScript file, and its checksum."""
    path = tmp_path / "inception.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Means()).save(path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def test_inception_takes_rounded_bytes_in_three_channels(weights):
    images = Images(torch.tensor([[0.5, 0.5], [0.1, 0.2]]), (1, 1, 2), 1)
    net = Inception(*weights)
    assert net.features(images).tolist() == [[128] * 3, [38.5] * 3]
    assert weights[1] in net.about
    colour = Images(torch.tensor([[10, 20, 30]], dtype=torch.uint8), (3, 1, 1), 255)
    assert net.features(colour).tolist() == [[10, 20, 30]]


def test_inception_is_opened_only_if_its_checksum_is_right(weights, tmp_path):
    path, checksum = weights
    with pytest.raises(FileError, match=f"its SHA-256 checksum is {checksum}, expected 00"):
        Inception(path, "00")
    with pytest.raises(ArgumentError, match="sha256: got None"):
        Inception(path)
    with pytest.raises(FileError, match="there is no file"):
        Inception(tmp_path / "none.pt", checksum)
    other = tmp_path / "other.pt"
    other.write_bytes(b"weights")
    with pytest.raises(FileError, match=r"other\.pt: got no TorchScript file"):
        Inception(other, hashlib.sha256(b"weights").hexdigest())
    with pytest.raises(DataError, match="images: got 4 channels, expected 1 or 3"):
        Inception(path, checksum).features(Images(torch.zeros(2, 4), (4, 1, 1), 1))


class Extractor(torch.nn.Module):
    """Stands for torch-fidelity's: takes a name and layers, and returns a tuple."""

    def __init__(self, name, layers):
        super().__init__()
        assert (name, layers) == ("inception-v3-compat", ["2048"])
        self.layer = torch.nn.BatchNorm2d(2)

    def forward(self, images):
        assert images.dtype == torch.uint8
        return (images.double().mean((2, 3)),)


def test_the_network_of_the_package_is_told_by_its_weights(monkeypatch):
    package = SimpleNamespace(FeatureExtractorInceptionV3=Extractor)
    monkeypatch.setattr(_inception, "import_module", lambda name: package)
    net = Inception()
    images = Images(torch.tensor([[0.5, 0.5], [0.1, 0.2]]), (1, 1, 2), 1)
    assert net.features(images).tolist() == [[128] * 3, [38.5] * 3]
    assert re.fullmatch(r"torch-fidelity, inception-v3-compat, weights [0-9a-f]{16}", net.about)


def test_without_a_file_inception_is_that_of_torch_fidelity(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(_inception, "import_module", missing)
    with pytest.raises(ArgumentError, match="or the package torch-fidelity to be installed"):
        Inception()
