"""Named streams of random numbers: the only source of randomness in the library.

A :class:`Stream` is a seed, a name and a counter of steps. Its children (``stream.child("chains")``)
are independent of it and of each other, so that evaluating a model does not shift its training. Each
draw takes one step, and each number in it is addressed by (seed, name, step, global row, column):
nothing depends on threads, processes or the split into batches.
"""

from __future__ import annotations

__all__ = ["Stream"]

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from .errors import invalid
from .kernels.philox import Draw, bits, normal, uniform

_PART = 1 << 16


class Stream:
    """Creates a stream of random numbers.

    Arguments:
        seed: Any integer in [0, 2^64).
        name: The stream's name; children extend it with a slash.
        row: The global number of the first row that this process draws.

    Raises:
        ArgumentError: ``seed`` is not such an integer.
    """

    def __init__(self, seed: int, name: str = "", row: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise invalid("seed", seed, "an integer in [0, 2^64)")
        self.seed = seed
        self.name = name
        self.row = row
        self.step = 0
        digest = blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
        self._key = int.from_bytes(digest, "little")

    def child(self, name: str) -> Stream:
        """Return the stream of that name below this one; it starts at step 0."""
        return Stream(self.seed, f"{self.name}/{name}", self.row)

    def draw(self) -> Draw:
        """Take one step and return its address."""
        address = Draw(self._key, self.step, self.row)
        self.step += 1
        return address

    def at(self, step: int) -> Draw:
        """Return the address of a given step without taking one."""
        return Draw(self._key, step, self.row)

    def uniform(
        self,
        rows: int,
        columns: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Draw uniform numbers in (0, 1) of shape (rows, columns)."""
        return uniform(bits(self.draw(), rows, columns, device), dtype)

    def uniform_at(self, step: int, rows: Tensor, columns: int) -> Tensor:
        """Return the uniform numbers of given global rows in a given step, without taking one.

        Arguments:
            step: The step.
            rows: The numbers of the rows, shape (rows).
            columns: How many numbers each row has.
        """
        return uniform(bits(self.at(step), rows, columns))

    def normal(
        self,
        rows: int,
        columns: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> Tensor:
        """Draw standard normal deviates of shape (rows, columns)."""
        return normal(bits(self.draw(), rows, columns, device), dtype)

    def integer(self) -> int:
        """Draw an integer in [0, 2^62), such as a seed for another library's generator."""
        first, second = bits(self.draw(), 1, 2)[0].tolist()
        return ((int(first) & 0x7FFFFFFF) << 31) | (int(second) & 0x7FFFFFFF)

    @contextmanager
    def seeding(self, device: torch.device) -> Iterator[None]:
        """Let torch's own generators draw from a seed of the stream, and bring them back as they were.

        Arguments:
            device: Where the draws are made, beside the CPU.
        """
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.integer())
            yield

    def permutation(self, n: int) -> Tensor:
        """Draw a permutation of 0 ... n-1, shape (n)."""
        address = self.draw()
        keys = torch.empty(n, dtype=torch.int64)
        for first in range(0, n, _PART):
            rows = torch.arange(first, min(first + _PART, n))
            words = bits(address, self.row + rows, 2)
            keys[rows] = (words[:, 0] << 31) ^ words[:, 1]
        return torch.from_numpy(np.argsort(keys.numpy(), kind="stable"))

    def state_dict(self) -> dict[str, int | str]:
        """Return the seed, the name and the step."""
        return {"seed": self.seed, "name": self.name, "step": self.step}

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Go to the step of a saved state.

        Raises:
            ArgumentError: The state belongs to a stream of another seed or name.
        """
        if (state["seed"], state["name"]) != (self.seed, self.name):
            theirs, ours = f"{state['seed']}{state['name']}", f"{self.seed}{self.name}"
            raise invalid("state", theirs, f"the state of stream {ours}")
        self.step = int(state["step"])

    def __repr__(self) -> str:
        return f"Stream(seed={self.seed}, name={self.name!r}, step={self.step})"
