r"""Which classes samples are of, against the shares of the classes in the data.

With :math:`n_k` of n samples in class k, whose share in the data is :math:`p_k`,

.. math:: \mathrm{KL} = \sum_k \frac{n_k}{n} \log \frac{n_k}{n p_k}, \qquad
    \mathrm{TV} = \frac12 \sum_k \Bigl| \frac{n_k}{n} - p_k \Bigr|.

No finite sample has these shares: of a perfect sampler n_k is binomial, so that KL has an expectation above
zero, about (K - 1) / 2n of K classes, and some rare classes are missed. Both are computed, and belong
beside the number. Stacked MNIST is the case of the thousand digits of its three channels.

References:
    | VEEGAN: reducing mode collapse in GANs using implicit variational learning (Srivastava et al., 2017)
    | PacGAN: the power of two samples in generative adversarial networks (Lin, Khetan, Fanti & Oh, 2018)
"""

from __future__ import annotations

__all__ = ["ClassHistogram", "class_histogram"]

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import DataError

WIDTH = 12


class ClassHistogram(NamedTuple):
    """How samples spread over classes, and what a perfect sampler of as many does on average."""

    shares: Tensor
    """Of the samples in each class, shape (classes), float64."""
    kl: float
    """Nats, from the data's shares to the samples'; infinite for samples of a class that no data have."""
    total_variation: float
    modes: int
    """Classes that have a sample."""
    kl_floor: float
    modes_floor: float


def class_histogram(labels: Any, reference: Any) -> ClassHistogram:
    """Compare the classes of samples with those of data.

    Arguments:
        labels: The class of each sample, integers from 0 on, shape (samples).
        reference: The share of each class in the data, or a number in proportion to it, shape (classes).

    Raises:
        DataError: Labels are no classes, or shares no shares.
    """
    marks, shares = torch.as_tensor(labels), torch.as_tensor(reference).double()
    if shares.ndim != 1 or not bool((shares >= 0).all()) or not 0 < float(shares.sum()) < torch.inf:
        raise DataError(
            f"reference: got {tuple(shares.shape)} numbers, expected the share of each class, >= 0"
        )
    if marks.ndim != 1 or not len(marks) or marks.is_floating_point() or marks.dtype == torch.bool:
        raise DataError(f"labels: got {marks.dtype} of shape {tuple(marks.shape)}, expected some integers")
    if int(marks.min()) < 0 or int(marks.max()) >= len(shares):
        raise DataError(
            f"labels: got {int(marks.min())} to {int(marks.max())}, expected 0 to {len(shares) - 1}"
        )
    n, p = len(marks), shares / shares.sum()
    counts = torch.bincount(marks.long(), minlength=len(p)).double()
    q = counts / n
    return ClassHistogram(
        shares=q,
        kl=float(_relative(q, p).sum()),
        total_variation=float((q - p).abs().sum()) / 2,
        modes=int((counts > 0).sum()),
        kl_floor=sum(_expected(n, share) for share in p.tolist()),
        modes_floor=float(-torch.expm1(n * (-p).log1p()).sum()),
    )


def _relative(q: Tensor, p: Tensor) -> Tensor:
    return torch.special.xlogy(q, q) - torch.special.xlogy(q, p)


def _expected(n: int, share: float) -> float:
    """Return the mean of q log(q / share) where n q is binomial, with ``share`` the probability."""
    if share in (0, 1):
        return 0.0
    mean, p = n * share, torch.tensor(share, dtype=torch.float64)
    reach = WIDTH * (mean**0.5 + WIDTH)
    k = torch.arange(max(0, int(mean - reach)), min(n, int(mean + reach)) + 1, dtype=torch.float64)
    choices = torch.lgamma(torch.tensor(n + 1.0).double()) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    weights = (choices + k * p.log() + (n - k) * (-p).log1p()).exp()
    return float(weights @ _relative(k / n, p))
