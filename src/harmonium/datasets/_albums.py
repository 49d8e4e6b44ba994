"""Which album a folder is: a database, or a folder of image files."""

from __future__ import annotations

__all__ = ["open_album"]

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ._album import Album
from ._images import list_folder
from ._lmdb import is_database, list_database


def open_album(folder: Path) -> AbstractContextManager[Album]:
    """Open the album of a folder, which can be read until it is closed.

    Raises:
        FileError: There are no images in it, or a database is damaged.
    """
    return list_database(folder) if is_database(folder) else nullcontext(list_folder(folder))
