"""Pictures of samples, filters, learning curves and completions: arrays in, matplotlib axes out.

Each function takes arrays or tensors, draws on the axes that it is given and returns them.
Without axes it makes a figure of its own, as large as the picture needs, in which an image pixel
covers a whole number of figure pixels; ``axes.figure.savefig(path)`` writes it. The global state
of pyplot is never touched and no display is needed.

Images are rows of ``height * width`` values; :func:`samples` and :func:`save_grid` also take rows of
shape (3, height, width): a red, a green and a blue channel, one after the other. Black is the lowest
value and white the highest: 0 and 1, or -1 and 1 as soon as any value is negative, so that binary
units, their means and spins come out right. Real-valued units have no such range: their ``limits``
are stated, and what lies beyond them is black or white.
"""

from __future__ import annotations

__all__ = ["agreement", "contact_map", "filters", "inpainting", "learning_curve", "samples", "save_grid"]

import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from math import ceil, sqrt
from pathlib import Path
from typing import TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from .errors import ArgumentTypeError, FileError, choose, invalid

Values: TypeAlias = ArrayLike | Tensor
Array: TypeAlias = NDArray[np.float64]

DPI = 150
MARGIN = 10
SHEET = 900
TILE = 96
GAP = 3
LINE = (0.75, 0.75, 0.75, 1.0)
INK = "#3a3a3a"
FAINT = "#e4e4e4"
UNKNOWN = (0.96, 0.73, 0.42, 1.0)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")


def samples(
    rows: Values,
    shape: Sequence[int],
    columns: int | None = None,
    axes: Axes | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw each row as an image, line by line on a grid.

    Arguments:
        rows: The images, shape (rows, height * width), or (rows, 3 * height * width) in colour.
        shape: The height and the width of an image, or (3, height, width).
        columns: How many images stand on a line; by default the grid is about square.
        axes: Where to draw.
        limits: The values that are black and white, if not 0 and 1, or -1 and 1.

    Raises:
        ArgumentError: The rows are no images of that shape, or have values beyond the range.
        ArgumentTypeError: An argument is not an array of numbers, or not matplotlib axes.
    """
    tiles = _painted(rows, shape, limits)
    sheet = _sheet(tiles, _columns(columns, tiles))
    axes = _place(axes, sheet)
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    return axes


def filters(
    weight: Values,
    shape: Sequence[int],
    columns: int | None = None,
    axes: Axes | None = None,
    most: int = 100,
) -> Axes:
    """Draw the incoming weights of each hidden unit as an image, the largest norm first.

    Red is positive, blue negative and white zero, on one scale for all units, which a bar states;
    the largest hundredth of the weights may lie beyond its ends.

    Arguments:
        weight: The couplings, shape (visible, hidden).
        shape: The height and the width of a visible image.
        columns: How many units stand on a line; by default the grid is about square.
        axes: Where to draw.
        most: Up to how many units are drawn.

    Raises:
        ArgumentError: The visible units are no image of that shape, or a number is not positive.
        ArgumentTypeError: An argument is not an array of numbers, or not matplotlib axes.
    """
    height, width = _size(shape)
    matrix = _array("weight", weight)
    if matrix.ndim != 2 or len(matrix) != height * width or not matrix.size:
        raise invalid("weight", matrix.shape, f"shape ({height * width}, hidden)")
    _finite("weight", matrix)
    order = np.argsort(-np.linalg.norm(matrix, axis=0), kind="stable")[: _positive("most", most)]
    tiles = matrix.T[order].reshape(-1, height, width)
    limit = float(np.quantile(np.abs(tiles), 0.99)) or float(np.abs(tiles).max()) or 1.0
    colours = ScalarMappable(Normalize(-limit, limit), "RdBu_r")
    painted = colours.to_rgba(tiles.ravel()).reshape(*tiles.shape, 4)
    sheet = _sheet(painted, _columns(columns, tiles))
    some = len(tiles) < matrix.shape[1]
    axes = _place(axes, sheet, right=100, top=24 * some)
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    _scale(axes, colours, limit)
    if some:
        title = f"{len(tiles)} of {matrix.shape[1]} hidden units, largest norm first"
        axes.set_title(title, loc="left", fontsize=8, color=INK)
    return axes


def learning_curve(
    epochs: Values,
    series: Mapping[str, Values],
    brackets: Mapping[str, tuple[Values, Values]] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw log-likelihoods over the epochs, each with the band that its estimates span.

    Points that are not finite are left out, as of epochs at which nothing was evaluated.

    Arguments:
        epochs: Where the values were taken, shape (n).
        series: The values by name, in nats per row, each of shape (n).
        brackets: The lower and the upper ends by the name of their series, each of shape (n).
        axes: Where to draw.

    Raises:
        ArgumentError: Lengths differ, there is nothing to draw, or a bracket is of no series.
        ArgumentTypeError: An argument is not an array of numbers, or not matplotlib axes.
    """
    x = _array("epochs", epochs)
    if x.ndim != 1 or not x.size:
        raise invalid("epochs", x.shape, "shape (n) with n at least 1")
    _finite("epochs", x)
    if not series:
        raise invalid("series", dict(series), "one series or more")
    lines = {name: _along(f"series[{name!r}]", y, x) for name, y in series.items()}
    bands = {name: _ends(name, ends, x) for name, ends in (brackets or {}).items()}
    for name in bands:
        choose("brackets", name, series)
    axes = _checked(axes) or Figure(figsize=(6.0, 3.6), dpi=DPI, layout="constrained").subplots()
    for (name, y), colour in zip(lines.items(), cycle(COLOURS), strict=False):
        if name in bands:
            _band(axes, x, *bands[name], colour)
        seen = np.isfinite(y)
        marker = "o" if seen.sum() <= 30 else ""
        axes.plot(x[seen], y[seen], color=colour, label=name, linewidth=1.6, marker=marker, ms=3.2)
    _dress(axes)
    return axes


def agreement(first: Values, second: Values, axes: Axes | None = None, most: int = 20_000) -> Axes:
    """Draw each number of one set over that of another, with the line on which both are equal.

    Arguments:
        first: Numbers of any shape, along the axis.
        second: Numbers of the same shape.
        axes: Where to draw.
        most: Up to how many points are drawn, at equal distances in the order of the numbers.

    Raises:
        ArgumentError: Shapes differ, or a number is not finite.
        ArgumentTypeError: An argument is not an array of numbers, or not matplotlib axes.
    """
    x, y = _array("first", first), _array("second", second)
    if x.shape != y.shape or not x.size:
        raise invalid("second", y.shape, f"shape {x.shape}, as that of first")
    _finite("first", x)
    _finite("second", y)
    step = ceil(x.size / _positive("most", most))
    axes = _checked(axes) or Figure(figsize=(4.0, 4.0), dpi=DPI, layout="constrained").subplots()
    ends = (min(x.min(), y.min()), max(x.max(), y.max()))
    axes.plot(ends, ends, color=INK, linewidth=0.8)
    axes.plot(x.ravel()[::step], y.ravel()[::step], ".", color=COLOURS[0], markersize=2, alpha=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK, labelsize=9)
    return axes


def contact_map(scores: Values, axes: Axes | None = None) -> Axes:
    """Draw the strengths of all pairs of sites as a square; the largest are dark.

    Arguments:
        scores: Shape (sites, sites); what is negative is white.
        axes: Where to draw.

    Raises:
        ArgumentError: The scores are no square matrix, or one is not finite.
        ArgumentTypeError: An argument is not an array of numbers, or not matplotlib axes.
    """
    matrix = _array("scores", scores)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise invalid("scores", matrix.shape, "shape (sites, sites)")
    _finite("scores", matrix)
    axes = _checked(axes) or Figure(figsize=(4.0, 4.0), dpi=DPI, layout="constrained").subplots()
    high = float(np.quantile(matrix, 0.995)) or float(matrix.max()) or 1.0
    ends = (-0.5, len(matrix) - 0.5, len(matrix) - 0.5, -0.5)
    axes.imshow(matrix, cmap="Greys", vmin=0, vmax=max(high, 1e-12), interpolation="nearest", extent=ends)
    axes.set_xlabel("site", color=INK)
    axes.set_ylabel("site", color=INK)
    axes.tick_params(length=0, labelcolor=INK, labelsize=9)
    return axes


def inpainting(
    given: Values,
    mask: Values,
    completed: Values,
    shape: Sequence[int],
    truth: Values | None = None,
    axes: Axes | None = None,
    limits: tuple[float, float] | None = None,
) -> Axes:
    """Draw a strip with a column for each image: the truth, what was given, and its completions.

    Arguments:
        given: The images of which a part is given, shape (rows, height * width); whatever stands
            in the unknown part is shaded.
        mask: True where a value is given, shape (rows, height * width) or (height * width).
        completed: The images filled in, shape (rows, height * width), or
            (completions, rows, height * width).
        shape: The height and the width of an image.
        truth: The whole images, shape (rows, height * width).
        axes: Where to draw.
        limits: The values that are black and white, if not 0 and 1, or -1 and 1.

    Raises:
        ArgumentError: Shapes do not fit together, or there are values beyond the range.
        ArgumentTypeError: An argument is not an array of numbers, or not matplotlib axes.
    """
    known = _known(mask, given, shape)
    parts = {"given": _tiles("given", np.where(known, _array("given", given), 0), shape)}
    if truth is not None:
        parts = {"truth": _tiles("truth", truth, shape, len(known))} | parts
    parts["completed"] = _completions(completed, shape, len(known))
    ends = min(_range(name, tiles, limits) for name, tiles in parts.items())
    painted = {name: _grey(tiles, ends) for name, tiles in parts.items()}
    painted["given"][~known.reshape(parts["given"].shape)] = UNKNOWN
    sheet = _sheet(np.concatenate(list(painted.values())), len(known))
    axes = _place(axes, sheet, left=104)
    axes.imshow(sheet, interpolation="nearest")
    _name_lines(axes, parts, len(sheet))
    return axes


def save_grid(
    rows: Values,
    shape: Sequence[int],
    path: str | os.PathLike[str],
    columns: int | None = None,
    scale: int | None = None,
    limits: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write each row as an image on one PNG, every pixel a sharp square; return the path.

    The file is written under another name and moved to its own when it is safe on the disk.

    Arguments:
        rows: The images, shape (rows, height * width), or (rows, 3 * height * width) in colour.
        shape: The height and the width of an image, or (3, height, width).
        path: Where to write, ending in ``.png``.
        columns: How many images stand on a line; by default the grid is about square.
        scale: The side of the square that a pixel becomes; by default images get some 64 pixels.
        limits: The values that are black and white, if not 0 and 1, or -1 and 1.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ArgumentError: The rows are no images of that shape, or have values beyond the range.
        ArgumentTypeError: The rows are not an array of numbers.
        FileError: The folder is missing, or the file is there and may not be replaced.
    """
    path = _writable(Path(path), overwrite)
    tiles = _painted(rows, shape, limits)
    scale = max(1, 64 // max(tiles.shape[1:3])) if scale is None else _positive("scale", scale)
    sheet = _sheet(tiles, _columns(columns, tiles), scale)
    _write(Image.fromarray(np.rint(255 * sheet).astype(np.uint8)), path)
    return path


def _array(name: str, values: Values) -> Array:
    """Return the values as an array of float64."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        kind = type(values).__name__
        raise ArgumentTypeError(f"{name}: got {kind}, expected an array of numbers") from error


def _finite(name: str, array: Array) -> None:
    """Raise unless all values are finite."""
    wrong = array[~np.isfinite(array)]
    if wrong.size:
        raise invalid(name, float(wrong[0]), "finite values")


def _positive(name: str, number: int) -> int:
    """Return a number that is a positive integer."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise invalid(name, number, "a positive integer")
    return number


def _size(shape: Sequence[int]) -> tuple[int, int]:
    """Return the height and the width."""
    match shape:
        case (int(height), int(width)) if height > 0 and width > 0:
            return height, width
    raise invalid("shape", shape, "a height and a width, such as (28, 28)")


def _tiles(name: str, rows: Values, shape: Sequence[int], n: int | None = None, channels: int = 1) -> Array:
    """Return the rows, of which there are ``n``, as images of shape (rows, channels * height, width)."""
    height, width = _size(shape)
    array = _array(name, rows)
    columns = channels * height * width
    if array.ndim != 2 or array.shape[1] != columns or not len(array):
        expected = f"shape (rows, {columns}) for images of {height} x {width}"
        raise invalid(name, array.shape, expected)
    if n is not None and len(array) != n:
        raise invalid(name, array.shape, f"{n} rows, as many as given")
    _finite(name, array)
    return array.reshape(-1, channels * height, width)


def _range(name: str, tiles: Array, limits: tuple[float, float] | None) -> tuple[float, float]:
    """Return the values that are black and white."""
    low, high = float(tiles.min()), float(tiles.max())
    if limits is not None:
        match limits:
            case (float() | int() as black, float() | int() as white) if black < white:
                return black, white
        raise invalid("limits", limits, "the value that is black and a higher one that is white")
    if low < -1 or high > 1:
        expected = "values from 0 to 1, from -1 to 1 for spins, or their own limits=(black, white)"
        raise invalid(name, f"{low:g} to {high:g}", expected)
    return (-1.0 if low < 0 else 0.0), 1.0


def _columns(columns: int | None, tiles: Array) -> int:
    """Return how many images stand on a line."""
    if columns is None:
        columns = ceil(sqrt(len(tiles) * tiles.shape[1] / tiles.shape[2]))
    return min(_positive("columns", columns), len(tiles))


def _painted(rows: Values, shape: Sequence[int], limits: tuple[float, float] | None) -> Array:
    """Return rows as opaque images, in colour if they have three channels, shape (rows, height, width, 4)."""
    match shape:
        case (3, height, width):
            size, channels = _size((height, width)), 3
        case _:
            size, channels = _size(shape), 1
    tiles = _tiles("rows", rows, size, channels=channels)
    grey = _grey(tiles, _range("rows", tiles, limits))
    if channels == 1:
        return grey
    colours = grey[..., 0].reshape(-1, 3, *size).transpose(0, 2, 3, 1)
    return np.concatenate((colours, grey[:, : size[0], :, 3:]), axis=-1)


def _grey(tiles: Array, ends: tuple[float, float]) -> Array:
    """Return images in opaque greys from black to white, shape (rows, height, width, 4)."""
    low, high = ends
    grey = np.clip((tiles - low) / (high - low), 0, 1)
    return np.stack((grey, grey, grey, np.ones_like(grey)), axis=-1)


def _sheet(tiles: Array, columns: int, scale: int | None = None) -> Array:
    """Lay coloured images out on a grid of thin lines; places without an image are transparent.

    Arguments:
        tiles: The images, shape (rows, height, width, 4).
        columns: How many stand on a line.
        scale: The side of the square that a pixel becomes; by default the sheet gets a fair size.
    """
    n, height, width, _ = tiles.shape
    lines = ceil(n / columns)
    if scale is None:
        sides = max(height, width), max(lines * height, columns * width)
        scale = max(1, min(TILE // sides[0], SHEET // sides[1]))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    high, wide = scale * height + GAP, scale * width + GAP
    sheet = np.zeros((lines * high + GAP, columns * wide + GAP, 4))
    for i, tile in enumerate(tiles):
        top, left = i // columns * high, i % columns * wide
        sheet[top : top + high + GAP, left : left + wide + GAP] = LINE
        sheet[top + GAP : top + high, left + GAP : left + wide] = tile
    return sheet


def _checked(axes: object) -> Axes | None:
    """Return the axes, or raise if they are something else."""
    if axes is None or isinstance(axes, Axes):
        return axes
    raise ArgumentTypeError(f"axes: got {type(axes).__name__}, expected matplotlib axes or None")


def _place(axes: Axes | None, sheet: Array, left: int = 0, right: int = 0, top: int = 0) -> Axes:
    """Return the axes, or new ones that fit the sheet, with room in pixels beside it."""
    axes = _checked(axes)
    if axes is not None:
        return axes
    height, width = sheet.shape[:2]
    wide, high = width + left + right + 2 * MARGIN, height + top + 2 * MARGIN
    figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI)
    return figure.add_axes(((left + MARGIN) / wide, MARGIN / high, width / wide, height / high))


def _scale(axes: Axes, colours: ScalarMappable, limit: float) -> None:
    """Draw the bar that states the colours' scale beside the axes."""
    place = axes.inset_axes((1.02, 0.0, 0.025, 1.0))
    bar = Colorbar(place, colours, extend="both", extendfrac=0.03)
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
    bar.ax.tick_params(length=0, labelsize=8, labelcolor=INK)
    place.spines["outline"].set_visible(False)


def _along(name: str, values: Values, x: Array) -> Array:
    """Return values that are as many as the epochs."""
    y = _array(name, values)
    if y.shape != x.shape:
        raise invalid(name, y.shape, f"shape {x.shape}, as that of epochs")
    return y


def _ends(name: str, ends: tuple[Values, Values], x: Array) -> tuple[Array, Array]:
    """Return the lower and the upper ends of a bracket."""
    name = f"brackets[{name!r}]"
    if len(ends) != 2:
        raise invalid(name, len(ends), "two: the lower and the upper ends")
    return _along(name, ends[0], x), _along(name, ends[1], x)


def _band(axes: Axes, x: Array, lower: Array, upper: Array, colour: str) -> None:
    """Shade the area between two curves; if they have one point only, draw the line between."""
    seen = np.isfinite(lower) & np.isfinite(upper)
    x, lower, upper = x[seen], lower[seen], upper[seen]
    if len(x) == 1:
        axes.vlines(x, lower, upper, color=colour, alpha=0.5, linewidth=3)
    else:
        axes.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)


def _dress(axes: Axes) -> None:
    """Label a learning curve and take away what does not inform."""
    axes.set_xlabel("epoch", color=INK)
    axes.set_ylabel("log-likelihood (nats per row)", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.tick_params(length=0, labelcolor=INK, labelsize=9)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    style = {"frameon": False, "labelcolor": INK, "fontsize": 9, "ncols": 3}
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, **style)


def _known(mask: Values, given: Values, shape: Sequence[int]) -> NDArray[np.bool_]:
    """Return the mask of the given values, of shape (rows, height * width)."""
    height, width = _size(shape)
    array, rows = _array("mask", mask), _array("given", given)
    if rows.ndim != 2 or rows.shape[1] != height * width:
        expected = f"shape (rows, {height * width}) for images of {height} x {width}"
        raise invalid("given", rows.shape, expected)
    if array.shape not in {rows.shape, rows.shape[1:]}:
        raise invalid("mask", array.shape, f"shape {rows.shape} or {rows.shape[1:]}")
    wrong = array[~np.isin(array, (0, 1))]
    if wrong.size:
        raise invalid("mask", float(wrong[0]), "True or False")
    return np.broadcast_to(array == 1, rows.shape)


def _completions(completed: Values, shape: Sequence[int], n: int) -> Array:
    """Return the completions of ``n`` rows as images, one completion after the other."""
    stack = _array("completed", completed)
    if stack.ndim != 3:
        return _tiles("completed", stack, shape, n)
    if stack.shape[1] != n:
        raise invalid("completed", stack.shape, f"{n} rows, as many as given, in each completion")
    return _tiles("completed", stack.reshape(len(stack) * n, -1 if stack.size else 0), shape)


def _name_lines(axes: Axes, parts: Mapping[str, Array], height: int) -> None:
    """Write the name of each part of a strip beside the share of the height that it takes."""
    starts = np.cumsum([0, *map(len, parts.values())])
    centres = (starts[1:] + starts[:-1]) / 2 * height / starts[-1]
    axes.set_yticks(centres, labels=list(parts))
    axes.set_xticks([])
    axes.tick_params(length=0, labelcolor=INK, labelsize=9)
    axes.spines[:].set_visible(False)


def _writable(path: Path, overwrite: bool) -> Path:
    """Return a path that a PNG may be written to."""
    if path.suffix.lower() != ".png":
        raise invalid("path", str(path), "a name that ends in .png")
    if not path.parent.is_dir():
        raise FileError(f"path: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise FileError(f"path: {path} is there already; overwrite=True replaces it")
    return path


def _write(image: Image.Image, path: Path) -> None:
    """Write the image beside its place, then move it there."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            image.save(file, format="PNG", optimize=True)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
