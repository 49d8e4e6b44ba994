"""Tables that are too large to be held at once, cut into tiles."""

from __future__ import annotations

__all__ = ["TILE", "tiles"]

from collections.abc import Iterator

TILE = 1 << 21
"""The most elements of a tile: a few arrays of that size stay under 100 MB."""


def tiles(rows: int, sites: int, *, depth: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of rows and of sites that cover a table of shape (rows, sites, depth).

    A tile of more than one row or site has at most ``TILE`` elements.

    Arguments:
        rows: The number of rows.
        sites: The number of sites.
        depth: The elements of each pair of them.
    """
    wide = min(sites, max(1, TILE // max(1, rows * depth)))
    tall = min(rows, max(1, TILE // (wide * depth)))
    for row in range(0, rows, tall):
        for site in range(0, sites, wide):
            yield slice(row, row + tall), slice(site, site + wide)
