"""How many threads torch takes."""

from __future__ import annotations

__all__ = ["one_thread"]

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep to one thread: for sums that must not depend on their number, or work too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
