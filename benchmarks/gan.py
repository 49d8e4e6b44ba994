"""Images per second of adversarial training, against a plain PyTorch loop with the same networks and batch.

The networks are the library's DCGAN, 28 x 28, with a discriminator that normalises over the batch, as the
public DCGAN example has it. The plain loop is that example's training step: the discriminator on a batch of
data, backward, on a made one, backward, a step of Adam; the generator through the discriminator, backward, a
step; images contiguous, data in memory as float32. ``hm.fit`` plays the same game with the same losses, and
makes its own batches of the grey levels besides. It is shown with the default discriminator (spectral norm,
all rows together) too, and with that one and penalties on slopes, R1 and R2, whose rate is set against its
own.

Figures are wall-clock seconds, medians of rounds in which all take their turn; ratios are medians of each
round's. Rows are random grey levels: the time depends on no value.

    python benchmarks/gan.py --table gan.md
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from _table import keep
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

import harmonium as hm

SHAPE = (1, 28, 28)
PLAIN = "plain PyTorch, batch norm"
SAME = "hm.fit, batch norm"
USUAL = "hm.fit, spectral norm"
PENALISED = "hm.fit, spectral norm, R1 and R2"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=6400, help="of an epoch")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=32, help="channels next to the image")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    grey = torch.randint(256, (args.rows, *SHAPE), dtype=torch.uint8)
    data = hm.datasets.from_array(grey.numpy(), binarisation="none", levels=255)
    runs: dict[str, Callable[[], float]] = {
        PLAIN: lambda: plain(args, grey),
        SAME: lambda: ours(args, data, "batch"),
        USUAL: lambda: ours(args, data, "spectral"),
        PENALISED: lambda: ours(args, data, "spectral", r1=0.1, r2=0.1),
    }
    rounds = [{name: run() for name, run in runs.items()} for _ in range(args.rounds + 1)][1:]
    table = []
    for name in runs:
        own = [one[name] for one in rounds]
        first = USUAL if name == PENALISED else PLAIN
        table.append(
            {
                "what": name,
                "images a second": args.rows / statistics.median(own),
                "fastest": args.rows / min(own),
                "slowest": args.rows / max(own),
                "times as fast": statistics.median(one[first] / one[name] for one in rounds),
                "as": first,
            }
        )
    title = f"Adversarial training of DCGANs of {args.width} channels, 28 x 28, batch {args.batch}"
    keep(args.table, title, table)


def networks(args: argparse.Namespace, normalisation: str, channels_last: bool) -> hm.GAN:
    """Return both players."""
    settings: dict[str, Any] = {"width": args.width, "normalisation": normalisation}
    return hm.GAN.of("dcgan", SHAPE, channels_last=channels_last, **settings)


def ours(args: argparse.Namespace, data: hm.Dataset, normalisation: str, **penalties: float) -> float:
    """Train for an epoch by the library; return its seconds."""
    model = networks(args, normalisation, channels_last=True)
    rule = hm.Adversarial(loss="nonsaturating", **penalties)
    return hm.fit(model, data, rule, epochs=1, batch_size=args.batch).records[0]["seconds"]


def plain(args: argparse.Namespace, grey: Tensor) -> float:
    """Train for an epoch as PyTorch's users do; return its seconds."""
    gan = networks(args, "batch", channels_last=False)
    generator, discriminator, latent = gan.generator, gan.discriminator, gan.latent
    images = 2 * (grey.float() / 255) - 1
    first, second = (
        torch.optim.Adam(player.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for player in (discriminator, generator)
    )
    began = time.perf_counter()
    for index in torch.randperm(len(images)).split(args.batch):
        batch = images[index]
        made = generator(torch.randn(len(batch), latent))
        discriminator.zero_grad()
        loss(discriminator, batch, 1.0).backward()
        loss(discriminator, made.detach(), 0.0).backward()
        first.step()
        generator.zero_grad()
        loss(discriminator, made, 1.0).backward()
        second.step()
    return time.perf_counter() - began


def loss(discriminator: nn.Module, rows: Tensor, target: float) -> Tensor:
    """Return the cross-entropy of the discriminator's scores."""
    scores = discriminator(rows).view(-1)
    return binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


if __name__ == "__main__":
    main()
