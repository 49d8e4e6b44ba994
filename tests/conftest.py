"""Fixtures that several tests share."""

import pytest
import torch

from harmonium import kernels
from harmonium.kernels import eager as reference

pytest.register_assert_rewrite("_checks", "_models")


torch.set_num_threads(1)
"""What tests compute is small, and each core has a worker of its own."""


@pytest.fixture(params=["fused", "eager"])
def path(request):
    """Take the fused kernels, or plain torch in their place."""
    if request.param == "eager":
        request.getfixturevalue("eager")
    return request.param


@pytest.fixture
def eager(monkeypatch):
    """Replace each fused kernel by its reference in plain torch."""
    for name in ("bernoulli", "spin", "categorical", "gaussian", "relu"):
        monkeypatch.setattr(kernels, name, getattr(reference, f"sample_{name}"))
    for name in ("anneal_binary", "binarise", "flips", "sweep"):
        monkeypatch.setattr(kernels, name, getattr(reference, name))
    monkeypatch.setattr(kernels, "affine", torch.addmm)


@pytest.fixture
def threads():
    """Return the function that sets torch's number of threads, which is put back afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
