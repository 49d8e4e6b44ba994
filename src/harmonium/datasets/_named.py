"""The table of named data sets: one line each, and the few loaders that they share."""

from __future__ import annotations

__all__ = ["DATASETS", "Entry"]

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sklearn.datasets import load_digits

from ..errors import FileError
from ..random import Stream
from ._cifar import ARCHIVE, BATCHES, SHAPE, read_cifar
from ._download import find
from ._files import read_idx, read_npz
from ._rows import SPLITS, Rows, Size
from ._stacked import NAMES, stack
from ._toys import TOYS

STACKED = {"train": 128_000, "validation": 10_000, "test": 25_600}
DRAWN = {"train": 50_000, "validation": 10_000, "test": 10_000}
SPLIT = "in the splits of the NADE suite (Larochelle & Murray 2011)"


@dataclass(frozen=True)
class Entry:
    """What there is to know of a named data set before it is loaded.

    Arguments:
        description: One line for a reader.
        shape: The shape of one row.
        loader: Reads the rows, given the folder to look in first, and the seed of what is drawn.
        source: Where it came from, and its licence.
        levels: The level of a pixel that means 1; None where rows are no pixels.
        binarisation: How levels become states unless another way is stated; None to leave them as they are.
        sizes: The default counts of the splits that the files lack.
        shuffled: Whether those are drawn by a permutation; otherwise they are the last rows.
        drawn: Whether rows are drawn from a density, and real; else those without levels are bits.
    """

    description: str
    shape: tuple[int, ...]
    loader: Callable[[Path | None, int], Rows]
    source: str
    levels: int | None = None
    binarisation: str | None = None
    sizes: tuple[tuple[str, Size], ...] = ()
    shuffled: bool = False
    drawn: bool = False

    @property
    def values(self) -> str:
        """What a column holds: bits, reals, or pixels in grey or colour."""
        if self.levels is None:
            return "reals" if self.drawn else "bits"
        return "colour" if len(self.shape) == 3 else "grey"


def _digits(root: Path | None, _: int) -> Rows:
    """Read scikit-learn's digits, which come with it."""
    values, labels = load_digits(return_X_y=True)
    return Rows({"train": values.reshape(-1, 8, 8)}, {"train": labels}, "digits")


def _images(folder: str, root: Path | None, _: int = 0) -> Rows:
    """Read the four IDX files of the MNIST family."""
    names = ("train-images-idx3", "t10k-images-idx3", "train-labels-idx1", "t10k-labels-idx1")
    paths = find(folder, [f"{name}-ubyte" for name in names], root)
    train, test = (read_idx(path, 3) for path in paths[:2])
    labels = dict(zip(("train", "test"), (read_idx(path, 1) for path in paths[2:]), strict=True))
    return Rows({"train": train, "test": test}, labels, str(paths[0].parent))


def _photographs(root: Path | None, _: int) -> Rows:
    """Read CIFAR-10 from its batches, or else from its archive."""
    batches = [[f"{folder}{name}" for name in BATCHES] for folder in ("", "cifar-10-batches-bin/")]
    return read_cifar(find("cifar10", [ARCHIVE], root, others=batches))


def _archive(folder: str, name: str, root: Path | None, _: int) -> Rows:
    """Read an .npz file of bits that has all splits."""
    (path,) = find(folder, [name], root)
    rows = read_npz(path)
    if set(rows.parts) != {*SPLITS}:
        got = ", ".join(rows.parts)
        raise FileError(f"{path}: got rows for {got}, expected x_train, x_valid and x_test")
    return rows


def _stacked(root: Path | None, seed: int) -> Rows:
    """Stack digits of MNIST, those of its training, its validation and its test images apart."""
    digits = _images("mnist", root)
    ((_, held_out),) = DATASETS["mnist"].sizes
    assert isinstance(held_out, int)
    of = {
        "train": ("train", slice(-held_out)),
        "validation": ("train", slice(-held_out, None)),
        "test": ("test", slice(None)),
    }
    parts, labels = {}, {}
    for split, (part, rows) in of.items():
        stream = Stream(seed).child("stacked").child(split)
        images, marks = digits.parts[part][rows], digits.labels[part][rows]
        parts[split], labels[split] = stack(images, marks, STACKED[split], stream)
    return Rows(parts, labels, f"stacked {digits.where}", NAMES)


def _toy(name: str, _: Path | None, seed: int) -> Rows:
    """Draw rows from a toy density."""
    stream, parts, labels = Stream(seed).child(name), {}, {}
    for split, n in DRAWN.items():
        rows, modes = TOYS[name].sample(n, stream.child(split))
        parts[split], labels[split] = rows.float().numpy(), modes.numpy()
    return Rows(parts, labels, name)


DATASETS: dict[str, Entry] = {
    "digits": Entry(
        "1,797 handwritten digits in grey, shipped with scikit-learn",
        (8, 8),
        _digits,
        "Optical Recognition of Handwritten Digits, UCI (Alpaydin & Kaynak 1998), CC BY 4.0.",
        levels=16,
        binarisation="sampled",
        sizes=(("validation", 250), ("test", 250)),
        shuffled=True,
    ),
    "mnist": Entry(
        "70,000 handwritten digits in grey",
        (28, 28),
        partial(_images, "mnist"),
        "MNIST (LeCun, Cortes & Burges 1998), no licence stated.",
        levels=255,
        binarisation="sampled",
        sizes=(("validation", 10_000),),
    ),
    "fashion-mnist": Entry(
        "70,000 articles of clothing in grey",
        (28, 28),
        partial(_images, "fashion-mnist"),
        "Fashion-MNIST (Xiao, Rasul & Vollgraf 2017), Zalando, MIT licence.",
        levels=255,
        binarisation="sampled",
        sizes=(("validation", 10_000),),
    ),
    "stacked-mnist": Entry(
        "163,600 images with a digit in each channel: a thousand modes",
        (3, 28, 28),
        _stacked,
        "Three images of MNIST each (LeCun, Cortes & Burges 1998), no licence stated.",
        levels=255,
    ),
    "cifar10": Entry(
        "60,000 photographs in colour, of ten classes",
        SHAPE,
        _photographs,
        "CIFAR-10 (Krizhevsky 2009), no licence stated.",
        levels=255,
        sizes=(("validation", 10_000),),
    ),
    "binarized-mnist": Entry(
        "MNIST in Larochelle's fixed binarisation",
        (28, 28),
        partial(_archive, "mnist", "binarized_mnist.npz"),
        "MNIST, sampled once and for all (Larochelle & Murray 2011), no licence stated.",
    ),
    "adult": Entry(
        "32,561 people of a census, one-hot",
        (123,),
        partial(_archive, "tables", "adult.npz"),
        f"UCI Adult (Becker & Kohavi 1996), CC BY 4.0, {SPLIT}.",
    ),
    "mushrooms": Entry(
        "8,124 mushrooms, one-hot",
        (112,),
        partial(_archive, "tables", "mushrooms.npz"),
        f"UCI Mushroom (1981), CC BY 4.0, {SPLIT}.",
    ),
    "dna": Entry(
        "3,186 splice junctions of 60 bases, three bits a base",
        (180,),
        partial(_archive, "tables", "dna.npz"),
        f"The dna set of LIBSVM, open, {SPLIT}.",
    ),
    "plants": Entry(
        "23,215 plants and the 69 regions they grow in",
        (69,),
        partial(_archive, "tables", "plants.npz"),
        "UCI Plants, open, in the splits of the density-estimation benchmark DEBD.",
    ),
    "ring": Entry(
        "70,000 points of eight Gaussians on a circle",
        (2,),
        partial(_toy, "ring"),
        "Drawn from hm.datasets.TOYS, by the seed.",
        drawn=True,
    ),
    "grid": Entry(
        "70,000 points of 25 Gaussians on a grid",
        (2,),
        partial(_toy, "grid"),
        "Drawn from hm.datasets.TOYS, by the seed.",
        drawn=True,
    ),
}
