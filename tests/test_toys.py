"""Toy densities, stacked digits, and mirrored images: what is drawn, and that it does not depend on how."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from harmonium.datasets import DATASETS, TOYS, Mixture, _named, _stacked, flip, load, summary
from harmonium.datasets._rows import Rows
from harmonium.errors import ArgumentError, DataError
from harmonium.random import Stream

# --- toy densities --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_density_integrates_to_one(name):
    toy = TOYS[name]
    total = torch.zeros(len(toy.centres), dtype=torch.float64)
    places = torch.linspace(-7, 7, 57, dtype=torch.float64) * toy.deviation
    square = torch.cartesian_prod(places, places)
    for mode, centre in enumerate(toy.centres):
        total[mode] = toy.log_density(centre + square).exp().sum() * float(places[1] - places[0]) ** 2
    assert total.tolist() == pytest.approx([1 / len(total)] * len(total), rel=1e-9)


@pytest.mark.parametrize("name", TOYS)
def test_samples_of_a_toy_have_its_density(name):
    toy, n = TOYS[name], 20_000
    rows, modes = toy.sample(n, Stream(0))
    counts = torch.bincount(modes, minlength=len(toy.centres)).double()
    expected = n / len(counts)
    assert ((counts - expected).square() / expected).sum() < chi2.ppf(0.999, len(counts) - 1)
    noise = (rows - toy.centres[modes]) / toy.deviation
    assert (noise.mean(0).abs() < 4 / n**0.5).all()
    assert (noise.T @ noise / n - torch.eye(2)).abs().max() < 4 * 2**0.5 / n**0.5
    entropy = math.log(len(counts)) + math.log(2 * math.pi * math.e * toy.deviation**2)
    assert abs(float(toy.log_density(rows).mean()) + entropy) < 4 / n**0.5


def test_modes_within_three_deviations_are_found():
    toy = TOYS["grid"]
    rows, modes = toy.sample(5000, Stream(1))
    found = toy.modes(rows)
    assert torch.equal(found[found >= 0], modes[found >= 0])
    share = (found < 0).double().mean()
    outside = math.exp(-4.5)
    assert abs(share - outside) < 4 * math.sqrt(outside / 5000)
    assert toy.modes(torch.tensor([[-4.0, -4.14], [-4.0, -4.16], [4.0, 4.0]])).tolist() == [0, -1, 24]
    with pytest.raises(ArgumentError, match=r"x: got \(3,\)"):
        toy.log_density(torch.zeros(3))


def test_the_density_of_one_gaussian_is_its_formula():
    toy = Mixture(torch.tensor([[1.0, 2.0, 3.0]]).double(), 0.5)
    x = torch.tensor([[1.5, 2.0, 2.0]])
    assert float(toy.log_density(x)) == pytest.approx(-1.25 / 0.5 - 1.5 * math.log(2 * math.pi * 0.25))


def test_first_rows_of_a_toy_do_not_depend_on_how_many_follow():
    few, many = (TOYS["ring"].sample(n, Stream(3)) for n in (10, 50))
    assert torch.equal(few[0], many[0][:10])
    assert torch.equal(few[1], many[1][:10])


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_named_sets_of_reals(name):
    data, other = load(name), load(name, seed=1)
    assert (data.kind, data.shape, data.binarisation) == ("reals", (2,), None)
    assert not torch.equal(data.train, other.train)
    assert torch.equal(data.train, load(name).train)
    assert not torch.equal(data.test, data.train[: len(data.test)])
    assert DATASETS[name].values == "reals"
    found = TOYS[name].modes(data.test)
    assert torch.equal(found[found >= 0], data.labels["test"][found >= 0])
    assert (found >= 0).double().mean() > 0.98
    assert summary(data)["baseline_log_likelihood"] is None
    with pytest.raises(ArgumentError, match=f"binarisation: got 'none', expected None: {name} holds reals"):
        load(name, binarisation="none")


# --- stacked digits -------------------------------------------------------------------------------


def test_the_label_of_stacked_digits_is_what_they_spell():
    digits = np.repeat(np.arange(10), 3)
    images = (10 * digits + np.arange(30) % 3).astype(np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    rows, labels = _stacked.stack(images, digits, 500, Stream(0))
    assert rows.shape == (500, 3, 2, 2)
    red, green, blue = (rows[:, channel, 0, 0] // 10 for channel in range(3))
    assert np.array_equal(labels, 100 * red.astype(int) + 10 * green + blue)
    assert [_stacked.NAMES[label] for label in labels[:3]] == [f"{label:03}" for label in labels[:3]]
    assert (rows.min((2, 3)) == rows.max((2, 3))).all()


def test_channels_are_drawn_independently_and_equally_often():
    rows, _ = _stacked.stack(np.arange(4).reshape(4, 1, 1), np.arange(4), 6400, Stream(5))
    triples = rows[:, :, 0, 0] @ [16, 4, 1]
    counts = np.bincount(triples, minlength=64)
    assert ((counts - 100) ** 2 / 100).sum() < chi2.ppf(0.999, 63)


def test_stacked_digits_keep_to_their_splits(monkeypatch):
    train, test = np.arange(12).reshape(12, 1, 1), np.arange(100, 104).reshape(4, 1, 1)
    marks = {"train": np.arange(12) % 10, "test": np.arange(4)}
    parts = {"train": np.broadcast_to(train, (12, 28, 28)), "test": np.broadcast_to(test, (4, 28, 28))}
    monkeypatch.setattr(_named, "_images", lambda folder, root: Rows(parts, marks, folder))
    monkeypatch.setattr(_named, "STACKED", {"train": 90, "validation": 50, "test": 40})
    entry = DATASETS["mnist"]
    small = type(entry)(**{**entry.__dict__, "sizes": (("validation", 3),)})
    monkeypatch.setitem(DATASETS, "mnist", small)
    data = load("stacked-mnist")
    assert [len(data.train), len(data.validation), len(data.test)] == [90, 50, 40]
    assert {*data.train.unique().tolist()} == {*range(9)}
    assert {*data.validation.unique().tolist()} == {9, 10, 11}
    assert {*data.test.unique().tolist()} == {100, 101, 102, 103}
    assert data.shape == (3, 28, 28)
    assert torch.equal(load("stacked-mnist").train, data.train)
    assert not torch.equal(load("stacked-mnist", seed=1).train, data.train)
    first = data.train[0].view(3, -1)[:, 0] % 10
    assert data.label_names[data.labels["train"][0]] == "".join(map(str, first.tolist()))


# --- mirrored images ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_about_half_of_the_images_are_mirrored(shape):
    images = torch.randint(0, 256, (400, *shape), generator=torch.Generator().manual_seed(0))
    rows = images.flatten(1).to(torch.uint8)
    out = flip(rows, shape, torch.arange(400), Stream(0), 3)
    mirrored = images.flip(-1).flatten(1)
    same, other = (out == rows).all(1), (out == mirrored).all(1)
    assert torch.equal(same, ~other)
    assert abs(float(other.double().mean()) - 0.5) < 4 * 0.5 / 20
    assert out.dtype == torch.uint8


def test_the_coin_of_an_image_is_that_of_its_number_and_epoch():
    rows = torch.arange(50 * 6).view(50, 6)
    stream = Stream(2)
    whole = flip(rows, (2, 3), torch.arange(50), stream, 0)
    some = torch.tensor([7, 3, 41])
    assert torch.equal(flip(rows[some], (2, 3), some, stream, 0), whole[some])
    assert stream.step == 0
    assert not torch.equal(flip(rows, (2, 3), torch.arange(50), stream, 1), whole)
    with pytest.raises(DataError, match=r"rows: got shape \(50, 6\), expected 50 images of shape \(2, 2\)"):
        flip(rows, (2, 2), torch.arange(50), stream, 0)
