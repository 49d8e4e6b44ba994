"""Mirrored images: half of the presentations, by a coin for each row and epoch, and the same run again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from _runs import same

import harmonium as hm
from harmonium.errors import ArgumentError
from harmonium.training._source import fingerprints, open_source

SHAPE = (2, 3)


def images(binarisation=None, labelled=False, n=400):
    """Return grey images of which none is its own mirror image."""
    grey = np.random.default_rng(0).integers(0, 120, (n, *SHAPE)).astype(np.uint8)
    grey[:, 0, 2] += 120
    labels = np.arange(n) % 3
    data = hm.datasets.from_array(
        grey, binarisation=binarisation, levels=255 if binarisation else None, labels=labels
    )
    data = data.with_flips()
    return data.with_labels() if labelled else data


def shown(data, batch_size, epoch=0):
    """Return the rows of an epoch in their own order, as training sees them."""
    unit = hm.Bernoulli(6) if data.classes is None else hm.Mixed(hm.Bernoulli(6), hm.Categorical(1, 3))
    source = open_source(unit, data, hm.Stream(0), batch_size, 10).source
    batches = [*source.batches(epoch)]
    rows = torch.cat([batch.values for batch in batches])
    return rows[torch.cat([batch.rows for batch in batches]).argsort()]


@pytest.mark.parametrize("labelled", [False, True])
def test_half_of_the_images_are_mirrored_and_labels_are_not(labelled):
    data = images("none", labelled)
    rows, whole = data.train[:, :6] / 255, shown(data, 400)
    mirror = rows.view(-1, *SHAPE).flip(-1).reshape(-1, 6)
    mirrored = (whole[:, :6] == mirror).all(1)
    assert ((whole[:, :6] == rows).all(1) ^ mirrored).all()
    assert abs(int(mirrored.sum()) - 200) < 4 * 10
    if labelled:
        assert torch.equal(whole[:, 6:], torch.eye(3)[torch.arange(400) % 3])


def test_a_coin_is_that_of_the_row_and_the_epoch():
    data = images("none")
    whole = shown(data, 400)
    for batch_size in (1, 7, 100):
        assert torch.equal(shown(data, batch_size), whole)
    assert not torch.equal(shown(data, 400, epoch=1), whole)


def test_bits_are_mirrored_after_they_were_drawn():
    data = images("sampled")
    plain = hm.datasets.from_array(data.train.numpy().reshape(-1, *SHAPE), binarisation="sampled", levels=255)
    before, after = shown(plain, 50), shown(data, 50)
    mirror = before.view(-1, *SHAPE).flip(-1).reshape(-1, 6)
    assert ((after == before).all(1) | (after == mirror).all(1)).all()
    assert not torch.equal(after, before)


def test_what_is_missing_is_mirrored_too():
    data = images()
    rows = data.train.float()
    rows[::2, 0] = torch.nan
    source = open_source(hm.Gaussian(6), replace(data, train=rows), hm.Stream(0), 400, 10, gaps=True).source
    batch = next(source.batches(0))
    own = rows.nan_to_num()[batch.rows]
    mirrored = (batch.values == own.view(-1, *SHAPE).flip(-1).reshape(-1, 6)).all(1)
    assert ((batch.values == own).all(1) ^ mirrored).all()
    lacking = batch.rows % 2 == 0
    assert batch.known is not None
    assert torch.equal(~batch.known[:, 0], lacking & ~mirrored)
    assert torch.equal(~batch.known[:, 2], lacking & mirrored)


def test_a_run_that_was_cut_goes_on_with_the_same_coins(tmp_path):
    data = images("none", n=60)
    options = {"epochs": 3, "batch_size": 20, "seed": 1}
    straight = hm.fit(hm.RBM(6, 4), data, hm.CD(), **options)
    hm.fit(hm.RBM(6, 4), data, hm.CD(), out=tmp_path / "run", callback=lambda record: True, **options)
    assert same(hm.resume(tmp_path / "run", data), straight)
    still = hm.fit(
        hm.RBM(6, 4), hm.datasets.from_array(data.train.numpy(), binarisation="none"), hm.CD(), **options
    )
    assert not torch.equal(still.model.weight, straight.model.weight)


def test_data_with_flips_are_others():
    data = images()
    plain = hm.datasets.from_array(data.train.numpy().reshape(-1, *SHAPE))
    assert fingerprints(data)["train"] != fingerprints(plain)["train"]


def test_only_images_are_mirrored():
    with pytest.raises(ArgumentError, match=r"^flip: got rows of shape \(6,\) in array, expected images"):
        hm.datasets.from_array(np.zeros((4, 6))).with_flips()
    with pytest.raises(ArgumentError, match=r"^flip: got transformed rows"):
        hm.datasets.load("digits", transform="standardise", epsilon=0.1, flip=True)
    assert hm.datasets.load("digits", flip=True, with_labels=True).flips
