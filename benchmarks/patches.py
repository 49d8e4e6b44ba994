"""A Gaussian-Bernoulli deep belief network on whitened patches of photographs, beside a normal distribution.

Patches of 8 x 8 pixels, grey or in colour, are cut from the images of their own split and whitened by the
training patches (ZCA, with ``--epsilon``; at 0 the covariance of the training patches is the identity). The
yardstick is the normal distribution with the mean and the full covariance of the same training patches, in
closed form, scored on the same test patches. An RBM without couplings, of precision 1, is that very
distribution where the covariance is the identity, and no gradient leads away from it: it is a saddle, since
first and second moments are right already. What there is to gain are the heavy tails of edges. So the
precision is fixed at 2, which leaves half of each variance for hidden units to explain, and these begin with
negative biases, rarely on, as such tails ask for.

Log-likelihoods are densities, in nats per patch, of the whitened space; the log-determinant of the whitening
takes them to the pixels' own units (0 to 255). The bytes are taken as real numbers. The network cut after its
first RBM is scored as well, so that the table tells what the second one adds. Patches of an image are alike,
so that errors are those of the mean over images, of differences from the yardstick too. Needs a folder of
images, such as TensorFlow's flower_photos, or the CIFAR-10 files (see docs/data.md).

    python benchmarks/patches.py --data PHOTOS --out RUN --table patches.md --filters patches.png
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from functools import partial
from typing import Any

import torch
from _runs import gone_on, settings_of
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium.plots import save_grid
from harmonium.report import OpenRun, cut, open_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="the run folder; resumed if it exists")
    parser.add_argument("--data", required=True, help="a folder of images, or the name of a data set")
    parser.add_argument(
        "--size", type=int, default=64, help="the side to which a folder's images are resized"
    )
    parser.add_argument("--channels", type=int, choices=(1, 3), default=1, help="grey, or colour")
    parser.add_argument("--patch", type=int, default=8)
    parser.add_argument("--per-image", type=int, default=40)
    parser.add_argument("--epsilon", type=float, default=0.0)
    parser.add_argument("--hidden", type=int, nargs="+", default=[400, 400])
    parser.add_argument("--epochs", type=int, nargs="+", default=[100, 60])
    parser.add_argument("--lr", type=float, nargs="+", default=[0.3, 0.1])
    parser.add_argument("--precision", type=float, default=2.0)
    parser.add_argument("--learn", action="store_true", help="learn the precisions from there")
    parser.add_argument("--hidden-bias", type=float, default=-2.0, help="of the first hidden layer, at first")
    parser.add_argument("--batch-size", type=int, default=200)
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 1])
    parser.add_argument("--chains", type=int, default=500)
    parser.add_argument("--samples", type=int, default=100, help="of the hidden layers, for each test patch")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--betas", type=int, default=5000)
    parser.add_argument("--equilibrate", type=int, default=2000)
    parser.add_argument("--test", type=int, default=10_000, help="test patches, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--filters", help="write the first layer's filters to this PNG")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    data = patches(args)
    assert data.transform is not None
    images = list(data.test[: args.test // args.per_image * args.per_image].split(args.per_image))
    visible = hm.Gaussian(data.columns, args.precision, learn_precision=args.learn)
    rules: list[Any] = [hm.PCD(steps=steps, chains=args.chains) for steps in args.steps]
    fresh = hm.DBN([visible, *args.hidden], seed=args.seed)
    torch.nn.init.constant_(fresh.rbms[0].hidden.bias, args.hidden_bias)
    start = partial(
        hm.pretrain,
        fresh,
        data,
        rules,
        epochs=args.epochs,
        lr=args.lr,
        batch_size=args.batch_size,
        seed=args.seed,
    )
    settings = settings_of(args, "samples", "test", "filters", "runs", "betas", "equilibrate")
    history = gone_on(args.out, settings, data, start, show)
    model = history.model
    assert isinstance(model, hm.DBN)
    ends = {record["layer"]: record["seconds"] for record in history.records}
    if args.filters:
        save_filters(data, model, args.filters)
    run = open_run(args.out, data)
    found = [normal(data, images)]
    for depth in range(1, model.depth + 1):
        seconds = sum(ends[layer] for layer in range(1, depth + 1))
        found.append(scored(args, cut(model, depth), images, run) | {"training s": seconds})
        print({name: value for name, value in found[-1].items() if name != "images"}, flush=True)
    determinant = data.transform.log_determinant
    yardstick = found[0]["images"]
    for row in found:
        gain = row.pop("images") - yardstick
        row["pixels' units"] = row["mean"] + determinant
        row["over the normal"] = float(gain.mean())
        row["± over"] = math.hypot(row["± Monte Carlo"], error_of(gain))
    shape = "x".join(map(str, data.shape))
    title = (
        f"Patches {shape} of {data.name}, {len(data.train):,} for training, "
        f"{sum(map(len, images)):,} from {len(images):,} images for testing, "
        f"{data.transform}: nats per patch, log-determinant {determinant:.3f}"
    )
    keep(args.table, title, found)


def patches(args: argparse.Namespace) -> hm.Dataset:
    """Return the whitened patches."""
    own = {} if args.data in hm.datasets.DATASETS else {"size": args.size, "channels": args.channels}
    return hm.datasets.load(
        args.data,
        patches=args.patch,
        patches_per_image=args.per_image,
        transform="zca",
        epsilon=args.epsilon,
        seed=args.seed,
        **own,
    )


def normal(data: hm.Dataset, images: list[Tensor]) -> dict[str, Any]:
    """Score the normal distribution with the mean and the covariance of the training patches."""
    train = data.train.double()
    mean = train.mean(0)
    covariance = (train - mean).T @ (train - mean) / len(train)
    law = torch.distributions.MultivariateNormal(mean, covariance)
    means = torch.stack([law.log_prob(image.double()).mean() for image in images])
    value = float(means.mean())
    return {
        "model": "normal, full covariance",
        "bound": value,
        "mean": value,
        "lower": value,
        "upper": value,
        "± Monte Carlo": 0.0,
        "± images": error_of(means),
        "effective": "",
        "trusted": True,
        "evaluation s": 0.0,
        "training s": 0.0,
        "images": means,
    }


def scored(args: argparse.Namespace, part: hm.DBN, images: list[Tensor], run: OpenRun) -> dict[str, Any]:
    """Score a network on the patches of each image, its log Z in brackets."""
    began = time.monotonic()
    log_z = hm.log_partition(
        part,
        method="bridge",
        runs=args.runs,
        betas=args.betas,
        equilibrate=args.equilibrate,
        chains=run.chains_of(part.depth, part.top),
    )
    print(log_z.reason or "trusted", log_z.to_dict(), flush=True)
    results = [
        hm.log_likelihood(part, image, log_partition=log_z, samples=args.samples, seed=seed)
        for seed, image in enumerate(images)
    ]
    means = torch.tensor([result.mean for result in results], dtype=torch.float64)
    own = sum(result.standard_error**2 - log_z.standard_error**2 for result in results)
    each = {
        name: statistics.mean(getattr(result, name) for result in results)
        for name in ("bound", "mean", "lower", "upper", "importance_ess")
    }
    return {
        "model": "-".join(str(unit.size) for unit in part.layers),
        **{name: each[name] for name in ("bound", "mean", "lower", "upper")},
        "± Monte Carlo": math.hypot(log_z.standard_error, math.sqrt(max(own, 0.0)) / len(results)),
        "± images": error_of(means),
        "effective": each["importance_ess"] if results[0].importance_samples else "",
        "trusted": all(result.trusted for result in results),
        "evaluation s": time.monotonic() - began,
        "images": means,
    }


def error_of(values: Tensor) -> float:
    """Return the standard error of the mean of independent values."""
    return float(values.std()) / math.sqrt(len(values))


def save_filters(data: hm.Dataset, model: hm.DBN, path: str) -> None:
    """Write the weights of the hundred units with the largest norms as images, each on its own scale."""
    weight = model.rbms[0].weight.detach()
    order = weight.norm(dim=0).argsort(descending=True)[:100]
    rows = weight[:, order].T
    rows = rows / rows.abs().amax(1, keepdim=True)
    shape = data.shape if len(data.shape) == 3 else data.shape[-2:]
    save_grid(rows, shape, path, limits=(-1.0, 1.0), overwrite=True)


def show(record: dict[str, Any]) -> None:
    """Print every fifth epoch."""
    if record["epoch"] % 5 == 0:
        names = ("layer", "epoch", "seconds", "train/free_energy", "validation/free_energy", "hidden_mean")
        found = {name: record.get(name) for name in (*names, "train/hidden_mean", "weight/norm")}
        print({name: value for name, value in found.items() if value is not None}, flush=True)


if __name__ == "__main__":
    main()
