"""Data sets: what comes in, as rows of the smallest type that holds them.

A :class:`Dataset` holds three splits of rows: bits, integer codes, reals, or grey levels at one
byte a pixel; an image in colour is a row of its three channels, one after the other. Grey values are no
states of a Bernoulli unit; how they become some must be stated, because the likelihoods of ``sampled``
bits, of ``threshold`` bits and of means (``none``) are three different numbers. :func:`load` takes a name
of ``DATASETS``, the path of a file or that of images in a folder or a database, and :func:`from_array`
takes what is in memory already. A table with columns of several types and gaps comes with the
:class:`Schema` that made its rows; :func:`from_table` takes frames. Nothing is ever unpickled.

Patches of images, and what a :class:`Transform` makes of rows, are real values for Gaussian units. A
likelihood of transformed rows is a density in the transformed space, in nats; the transform's
``log_determinant`` takes it to the units in which the rows came.

Files of named sets are looked for under the argument ``root``, then under ``$HARMONIUM_DATA``,
then in the cache (``$HARMONIUM_CACHE``, by default ``~/.cache/harmonium``); those with an entry in
``MIRRORS`` are downloaded into the cache at last, if their checksum is right.
"""

from __future__ import annotations

__all__ = [
    "ALPHABETS",
    "BINARISATIONS",
    "DATASETS",
    "IDX",
    "MIRRORS",
    "MISSING",
    "TOYS",
    "TRANSFORMS",
    "Block",
    "Column",
    "Dataset",
    "Entry",
    "Form",
    "Mixture",
    "Schema",
    "Transform",
    "block_rows",
    "cache_folder",
    "delimiter_of",
    "describe_table",
    "flip",
    "from_array",
    "from_table",
    "load",
    "open_table",
    "pack",
    "read_blocks",
    "read_fasta",
    "read_table",
    "sequence_weights",
    "summary",
    "write_cell",
    "write_table",
]

from ._column import Column
from ._dataset import BINARISATIONS, Dataset, summary
from ._describe import describe_table
from ._download import MIRRORS, cache_folder
from ._files import IDX
from ._flip import flip
from ._load import from_array, load
from ._mixed_table import from_table
from ._named import DATASETS, Entry
from ._pack import pack
from ._schema import MISSING, Schema
from ._sequences import ALPHABETS, read_fasta, sequence_weights
from ._tables import (
    Block,
    Form,
    block_rows,
    delimiter_of,
    open_table,
    read_blocks,
    read_table,
    write_cell,
    write_table,
)
from ._toys import TOYS, Mixture
from ._transform import TRANSFORMS, Transform
