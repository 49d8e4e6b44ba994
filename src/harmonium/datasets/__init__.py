"""Data sets: what comes in, as rows of the smallest type that holds them.

A :class:`Dataset` holds three splits of rows in memory: bits, integer codes, reals, or grey levels
at one byte a pixel. Grey values are no states of a Bernoulli unit; how they become some must be
stated, because the likelihoods of ``sampled`` bits, of ``threshold`` bits and of means (``none``)
are three different numbers. :func:`load` takes a name of ``DATASETS`` or the path of a file, and
:func:`from_array` takes what is in memory already. Nothing is ever unpickled.

Files of named sets are looked for under the argument ``root``, then under ``$HARMONIUM_DATA``,
then in the cache (``$HARMONIUM_CACHE``, by default ``~/.cache/harmonium``); those with an entry in
``MIRRORS`` are downloaded into the cache at last, if their checksum is right.
"""

from __future__ import annotations

__all__ = [
    "BINARISATIONS",
    "DATASETS",
    "MIRRORS",
    "Dataset",
    "Entry",
    "from_array",
    "load",
    "summary",
]

from ._dataset import BINARISATIONS, Dataset, summary
from ._download import MIRRORS
from ._load import from_array, load
from ._named import DATASETS, Entry
