"""Plots: what stands where on the pictures, checked on their pixels and labels."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from harmonium import plots
from harmonium.errors import ArgumentError, ArgumentTypeError, FileError

BLACK, WHITE, LINE, NOTHING = (0, 0, 0, 255), (255, 255, 255, 255), (191, 191, 191, 255), (0,) * 4
CORNERS = np.eye(4)
SHAPE = (2, 2)


def sheet(axes):
    """Return the picture on the axes as bytes, shape (height, width, 4)."""
    return np.rint(255 * np.asarray(axes.images[0].get_array())).astype(int)


def cell(picture, i, columns, n, shape=SHAPE):
    """Return the image at place ``i`` of a grid, one colour for each of its pixels."""
    lines = -(-n // columns)
    high = (len(picture) - plots.GAP) // lines - plots.GAP
    wide = (picture.shape[1] - plots.GAP) // columns - plots.GAP
    top = plots.GAP + i // columns * (high + plots.GAP)
    left = plots.GAP + i % columns * (wide + plots.GAP)
    tile = picture[top : top + high, left : left + wide]
    tile = tile.reshape(shape[0], high // shape[0], shape[1], wide // shape[1], -1)
    assert (tile == tile[:, :1, :, :1]).all(), "the squares of the pixels are not plain"
    return tile[:, 0, :, 0]


def grey(value):
    """Return the colour of a value in [0, 1]."""
    return [round(255 * value)] * 3 + [255]


def test_each_sample_stands_in_its_place():
    picture = sheet(plots.samples(CORNERS, SHAPE, columns=3))
    for i in range(4):
        expected = np.array([WHITE if j == i else BLACK for j in range(4)])
        assert (cell(picture, i, 3, 4).reshape(4, 4) == expected).all()
    assert (picture[0, 0] == LINE).all()
    assert (picture[-1, -1] == NOTHING).all()


@pytest.mark.parametrize(
    ("rows", "limits", "expected"),
    [
        ([[0.0, 0.2, 0.6, 1.0]], None, [0.0, 0.2, 0.6, 1.0]),
        ([[0.2, 0.2, 0.2, 0.2]], None, [0.2, 0.2, 0.2, 0.2]),
        ([[-1, 1, -1, 1]], None, [0, 1, 0, 1]),
        ([[-0.2, 1.0, 0.0, 0.2]], None, [0.4, 1.0, 0.5, 0.6]),
        ([[True, False, False, True]], None, [1, 0, 0, 1]),
        ([[-7.0, 0.0, 2.0, 9.0]], (-4.0, 4.0), [0.0, 0.5, 0.75, 1.0]),
    ],
)
def test_values_have_their_grey(rows, limits, expected):
    picture = sheet(plots.samples(rows, SHAPE, limits=limits))
    assert cell(picture, 0, 1, 1).reshape(4, 4).tolist() == [grey(value) for value in expected]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8, torch.bool])
def test_tensors_and_arrays_give_the_same_picture(dtype):
    tensor = torch.tensor(CORNERS).to(dtype)
    if dtype.is_floating_point:
        tensor.requires_grad_()
    assert (sheet(plots.samples(tensor, SHAPE)) == sheet(plots.samples(CORNERS, SHAPE))).all()


def test_own_figure_shows_each_pixel_of_the_sheet_once(tmp_path):
    axes = plots.samples(CORNERS, SHAPE)
    axes.figure.savefig(tmp_path / "samples.png")
    picture, margin = sheet(axes), plots.MARGIN
    seen = np.asarray(Image.open(tmp_path / "samples.png").convert("RGB"))
    assert seen.shape[:2] == (picture.shape[0] + 2 * margin, picture.shape[1] + 2 * margin)
    assert (seen[margin:-margin, margin:-margin] == picture[..., :3]).all()


def test_given_axes_are_used():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.samples(CORNERS, SHAPE, axes=left) is left
    assert plots.filters(CORNERS, SHAPE, axes=right) is right
    assert len(left.images) == len(right.images) == 1


def test_no_global_figure_and_no_display():
    script = (
        "import sys, numpy; from harmonium import plots;"
        "plots.samples(numpy.eye(4), (2, 2)).figure.canvas.draw();"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    quiet = {key: value for key, value in os.environ.items() if "DISPLAY" not in key}
    subprocess.run([sys.executable, "-c", script], check=True, env=quiet)


def test_filters_stand_by_norm_and_zero_is_white():
    weight = np.array([[0.5, 0, -3, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 2, 0, 1]])
    picture = sheet(plots.filters(weight, SHAPE, columns=2))
    first, second, third, fourth = (cell(picture, i, 2, 4).astype(int) for i in range(4))
    assert first[0, 0, 2] > first[0, 0, 0]
    assert second[1, 1, 0] > second[1, 1, 2]
    assert third[1, 1, 0] > third[1, 1, 2]
    assert fourth[0, 0, 0] > fourth[0, 0, 2]
    assert (third[1, 1] != second[1, 1]).any()
    assert (np.ptp(first[1], axis=-1) <= 10).all()
    assert (first[1] >= 240).all()


def test_filters_have_one_symmetric_scale_that_is_stated():
    axes = plots.filters([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, -1.0]], SHAPE, columns=2)
    (bar,) = axes.child_axes
    low, zero, high = bar.get_yticks()
    assert low == -high < zero == 0
    assert [label.get_text() for label in bar.get_yticklabels()][1] == "0"
    picture = sheet(axes)
    opposite = sheet(plots.filters([[-1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]], SHAPE, 2))
    assert (cell(picture, 0, 2, 2)[0, 0] == cell(opposite, 1, 2, 2)[1, 1]).all()


def test_filters_say_how_many_are_left_out():
    weight = np.random.default_rng(0).normal(size=(4, 30))
    some, all_of_them = plots.filters(weight, SHAPE, most=7), plots.filters(weight, SHAPE)
    assert some.get_title("left") == "7 of 30 hidden units, largest norm first"
    assert all_of_them.get_title("left") == ""
    largest = np.argmax(np.linalg.norm(weight, axis=0))
    alone = sheet(plots.filters(weight, SHAPE, most=1))
    assert (alone == sheet(plots.filters(weight[:, [largest]], SHAPE))).all()


def test_filters_of_zero_weights_are_white():
    picture = sheet(plots.filters(np.zeros((4, 2)), SHAPE))
    assert (cell(picture, 0, 2, 2)[..., :3] >= 240).all()


def test_learning_curve_has_lines_bands_and_labels():
    train, validation = [-9.0, -8.0, -7.5], [-9.5, -8.5, -8.0]
    lower, upper = [-10.0, -9.0, -8.2], [-9.0, -8.0, -7.8]
    series = {"train": train, "validation": torch.tensor(validation)}
    axes = plots.learning_curve([1, 2, 3], series, {"validation": (lower, upper)})
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "log-likelihood (nats per row)"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train", "validation"]
    assert [line.get_ydata().tolist() for line in axes.lines] == [train, validation]
    assert all(line.get_xdata().tolist() == [1, 2, 3] for line in axes.lines)
    (band,) = axes.collections
    corners = {tuple(corner) for corner in band.get_paths()[0].vertices.tolist()}
    assert corners >= {(i + 1.0, ends[i]) for ends in (lower, upper) for i in range(3)}
    assert band.get_facecolor()[0, :3] == pytest.approx(
        [int(plots.COLOURS[1][i : i + 2], 16) / 255 for i in (1, 3, 5)]
    )


def test_learning_curve_passes_over_epochs_without_a_value():
    nan, infinite = float("nan"), float("inf")
    axes = plots.learning_curve(
        [1, 2, 3], {"test": [-3.0, nan, -1.0]}, {"test": ([nan, nan, -1.5], [infinite, nan, -0.5])}
    )
    assert axes.lines[0].get_xdata().tolist() == [1, 3]
    (bar,) = axes.collections
    assert bar.get_segments()[0].tolist() == [[3.0, -1.5], [3.0, -0.5]]


def test_epochs_have_whole_ticks():
    axes = plots.learning_curve([1, 2], {"test": [-2.0, -1.0]})
    axes.figure.canvas.draw()
    assert all(tick == round(tick) for tick in axes.get_xticks())


def test_inpainting_shades_the_unknown_part():
    given = np.array([[1.0, 0.0, np.nan, np.nan], [0.0, 1.0, 5.0, 5.0]])
    mask = np.array([True, True, False, False])
    completed = np.stack([[[1.0, 0, 1, 1], [0, 1, 0, 0]], [[1, 0, 0, 1], [0, 1, 1, 1]]])
    truth = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1]])
    axes = plots.inpainting(given, mask, completed, SHAPE, truth)
    picture = sheet(axes)
    shade = np.rint(255 * np.array(plots.UNKNOWN)).astype(int).tolist()
    cells = [cell(picture, i, 2, 8).reshape(4, 4).tolist() for i in range(8)]
    assert cells[2] == [grey(1), grey(0), shade, shade]
    assert cells[3] == [grey(0), grey(1), shade, shade]
    shown = [cells[0], cells[1], *cells[4:]]
    assert shown == [[grey(x) for x in row] for row in [*truth, *completed.reshape(4, 4)]]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "truth",
        "given",
        "completed",
    ]
    assert axes.get_yticks() == pytest.approx(len(picture) * np.array([1, 3, 6]) / 8)


def test_inpainting_without_truth_and_with_spins():
    given, mask = np.array([[1.0, -1, 0, 0]]), np.array([[1, 1, 0, 0]])
    axes = plots.inpainting(given, mask, [[1.0, -1, -1, 1]], SHAPE)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["given", "completed"]
    bottom = cell(sheet(axes), 1, 1, 2).reshape(4, 4).tolist()
    assert bottom == [grey(1), grey(0), grey(0), grey(1)]


def test_saved_grid_has_the_values_at_their_places(tmp_path):
    rows = np.array([[0.0, 0.25, 0.5, 1.0], [1, 1, 1, 1], [0, 0, 0, 0]])
    path = plots.save_grid(rows, SHAPE, tmp_path / "grid.png", columns=2, scale=5)
    picture = np.asarray(Image.open(path))
    side = 2 * 5 + plots.GAP
    assert picture.shape == (2 * side + plots.GAP, 2 * side + plots.GAP, 4)
    assert cell(picture, 0, 2, 3).reshape(4, 4).tolist() == [grey(x) for x in rows[0]]
    assert (cell(picture, 1, 2, 3) == WHITE).all()
    assert (cell(picture, 2, 2, 3) == BLACK).all()
    assert (picture[side, 3] == LINE).all()
    assert (picture[-1, -1] == NOTHING).all()


def test_images_in_colour_have_their_channels_one_after_the_other(tmp_path):
    rows = np.array([[1.0, 0, 0, 0, 0, 0.2, 0, 0, 0, 0.4, 0, 0.6], np.full(12, 0.8)])
    path = plots.save_grid(rows, (3, 2, 2), tmp_path / "grid.png", columns=2, scale=5)
    left = [[255, 0, 0, 255], [0, 51, 102, 255], [0, 0, 0, 255], [0, 0, 153, 255]]
    for picture in (np.asarray(Image.open(path)), sheet(plots.samples(rows, (3, 2, 2), columns=2))):
        assert cell(picture, 0, 2, 2).reshape(4, 4).tolist() == left
        assert (cell(picture, 1, 2, 2) == [204, 204, 204, 255]).all()


def test_saved_grid_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "grid.png"
    plots.save_grid(CORNERS, SHAPE, path)
    before = path.read_bytes()

    def fail(_):
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="full"):
        plots.save_grid(1 - CORNERS, SHAPE, path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saved_grid_replaces_a_file_only_when_told(tmp_path):
    path = plots.save_grid(CORNERS, SHAPE, str(tmp_path / "grid.png"))
    before = path.read_bytes()
    with pytest.raises(FileError, match="overwrite=True"):
        plots.save_grid(1 - CORNERS, SHAPE, path)
    assert path.read_bytes() == before
    plots.save_grid(1 - CORNERS, SHAPE, path, overwrite=True)
    assert path.read_bytes() != before
    with pytest.raises(FileError, match="no folder"):
        plots.save_grid(CORNERS, SHAPE, tmp_path / "missing" / "grid.png")
    with pytest.raises(ArgumentError, match=r"path: .*\.png"):
        plots.save_grid(CORNERS, SHAPE, tmp_path / "grid.jpg")


NAN = np.full((2, 4), np.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plots.samples(np.eye(3), SHAPE),
            r"rows: got \(3, 3\), expected shape \(rows, 4\)",
        ),
        (lambda: plots.samples(np.zeros(4), SHAPE), r"rows: got \(4,\)"),
        (lambda: plots.samples(np.zeros((0, 4)), SHAPE), r"rows: got \(0, 4\)"),
        (lambda: plots.samples(NAN, SHAPE), "rows: got nan, expected finite"),
        (lambda: plots.samples(2 * CORNERS, SHAPE), "rows: got '0 to 2', expected values"),
        (lambda: plots.samples(CORNERS, (4,)), "shape: got"),
        (lambda: plots.samples(CORNERS, (2, 2, 2)), "shape: got"),
        (lambda: plots.samples(CORNERS, (3, 2, 2)), r"rows: got \(4, 4\), expected shape \(rows, 12\)"),
        (lambda: plots.samples(CORNERS, (-2, -2)), "shape: got"),
        (lambda: plots.samples(CORNERS, SHAPE, columns=0), "columns: got 0, expected a positive"),
        (lambda: plots.samples(CORNERS, SHAPE, limits=(1, 0)), r"limits: got \(1, 0\)"),
        (lambda: plots.filters(np.eye(3), SHAPE), r"weight: got \(3, 3\), .* \(4, hidden\)"),
        (lambda: plots.filters(NAN.T, SHAPE), "weight: got nan"),
        (lambda: plots.filters(CORNERS, SHAPE, most=0), "most: got 0"),
        (lambda: plots.learning_curve([], {"a": []}), r"epochs: got \(0,\)"),
        (lambda: plots.learning_curve([1], {}), "series: got {}"),
        (lambda: plots.learning_curve([1], {"a": [1, 2]}), r"series\['a'\]: got \(2,\)"),
        (
            lambda: plots.learning_curve([1], {"train": [1]}, {"trian": ([0], [2])}),
            "brackets: unknown 'trian', .* did you mean 'train'",
        ),
        (
            lambda: plots.learning_curve([1], {"a": [1]}, {"a": ([0, 0], [2])}),
            r"brackets\['a'\]: got \(2,\)",
        ),
        (lambda: plots.inpainting(CORNERS, np.ones(3), CORNERS, SHAPE), r"mask: got \(3,\)"),
        (lambda: plots.inpainting(CORNERS, [0, 1, 2, 1], CORNERS, SHAPE), "mask: got 2.0"),
        (lambda: plots.inpainting(np.eye(3), np.ones(4), CORNERS, SHAPE), r"given: got \(3, 3\)"),
        (
            lambda: plots.inpainting(CORNERS, np.ones(4), CORNERS[:3], SHAPE),
            r"completed: got \(3, 4\), expected 4 rows",
        ),
        (
            lambda: plots.inpainting(CORNERS, np.ones(4), np.ones((2, 3, 4)), SHAPE),
            r"completed: got \(2, 3, 4\), expected 4 rows",
        ),
        (
            lambda: plots.inpainting(CORNERS, np.ones(4), CORNERS, SHAPE, CORNERS[1:]),
            r"truth: got \(3, 4\), expected 4 rows",
        ),
        (
            lambda: plots.inpainting(CORNERS, np.ones(4), 3 * CORNERS, SHAPE),
            "completed: got '0 to 3'",
        ),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call()


def test_wrong_types_are_named():
    with pytest.raises(ArgumentTypeError, match="rows: got list"):
        plots.samples([["a"]], (1, 1))
    with pytest.raises(ArgumentTypeError, match="axes: got Figure"):
        plots.samples(CORNERS, SHAPE, axes=Figure())
