"""What a report says in words and tables."""

from __future__ import annotations

__all__ = [
    "commands",
    "diagnostics",
    "main_evaluation",
    "numbers",
    "settings",
    "summary",
    "title",
    "verdict",
]

import shlex
from collections.abc import Iterator
from typing import Any

from ..models import PairwiseModel
from ..training import History, diagnose
from ..training.pretrain import JOINT
from ._networks import (
    network_numbers,
    network_quality,
    network_training,
    network_verdict,
    widths,
)
from ._opened import OpenRun, environment
from ._words import (
    Table,
    baseline,
    binarised,
    bounded,
    duration,
    minus,
    number,
    own_units,
    short,
    units,
    wrong_labels,
)

_SPLITS = ("test", "validation", "train")
_MODELS = {
    "rbm": ("RBM", "restricted Boltzmann machine"),
    "boltzmann": ("Boltzmann machine",) * 2,
    "dbn": ("DBN", "deep belief network"),
    "dbm": ("DBM", "deep Boltzmann machine"),
    "gan": ("GAN", "generative adversarial network"),
    "mlp": ("MLP", "classifier"),
    "dbm-classifier": ("Classifier of a DBM", "classifier"),
    "autoencoder": ("Autoencoder", "autoencoder"),
}
_RULES = {
    "pcd": "persistent contrastive divergence",
    "cd": "contrastive divergence",
    "variational-pcd": "variational stochastic maximum likelihood",
    "multi-prediction": "predicting parts of each row from the rest",
    "discriminative": "the gradient of -log p(label given the rest)",
    "hybrid": "the gradient of -log p(label given the rest) and a share of that of -log p",
}


def title(run: OpenRun) -> str:
    """Name the model and the data."""
    layers = "–".join(map(str, widths(run)))
    name, _ = _MODELS.get(run.model.kind, (run.model.kind,) * 2)
    return f"{name} {layers} on {run.data.name}"


def main_evaluation(run: OpenRun) -> dict[str, Any] | None:
    """Return the evaluation to speak of: that of the test set, or else another."""
    found = run.evaluations()
    return next((found[split] for split in _SPLITS if split in found), None)


def verdict(run: OpenRun) -> tuple[str, str]:
    """Return whether to trust the numbers (``good``, ``bad``, ``none``), and a line that says so."""
    evaluation = main_evaluation(run)
    if evaluation is None:
        return "none", "Not evaluated yet"
    other = network_verdict(run, evaluation)
    if other is not None:
        return other
    if evaluation["trusted"]:
        return "good", "The two ends of the likelihood agree: it can be trusted"
    return "bad", f"Do not trust the likelihood: {evaluation['reason']}"


def summary(run: OpenRun) -> list[str]:
    """Tell in plain English what was done and what came out, a paragraph each."""
    return [minus(text) for text in (_training(run), *_quality(run))]


def numbers(run: OpenRun) -> Table:
    """Return the log-likelihoods with both ends and their errors."""
    if not isinstance(run.model, PairwiseModel):
        return network_numbers(run)
    evaluations = run.evaluations()
    bounded = any(found.get("bound") is not None for found in evaluations.values())
    head = ("rows", *(("bound", "± bound") if bounded else ()), "mean", "lower end", "upper end")
    rows = []
    for split, found in evaluations.items():
        bound = (number(found.get("bound"), 3), short(found.get("bound_error"))) if bounded else ()
        values = [number(found.get(name), 3) for name in ("mean", "lower", "upper")]
        errors = [short(found.get(f"{name}standard_error")) for name in ("", "data_")]
        floor = number(found.get("baseline_log_likelihood"), 3)
        trusted = "yes" if found["trusted"] else "no"
        rows.append((f"{split} ({found['rows']:,})", *bound, *values, *errors, floor, trusted))
    return Table((*head, "± Monte Carlo", "± rows", "baseline", "trusted"), rows)


def diagnostics(run: OpenRun) -> Table:
    """Return what tells whether the numbers and the chains can be believed, and what to do if not."""
    history = History(model=run.model, records=run.records, chains=run.chains, stopped="")
    evaluation = main_evaluation(run)
    found = diagnose(run.model, history, run.data, evaluation=evaluation)
    rows: list[tuple[str, ...]] = [(f.name, f.shown, f.verdict, f.advice) for f in found]
    if evaluation is not None and "log_partition" in evaluation:
        rows += _of_evaluation(evaluation)
    if run.records:
        rows += _of_training(run.records[-1])
    rows = [(name, minus(value), judged, meaning) for name, value, judged, meaning in rows]
    return Table(("quantity", "value", "verdict", "what it tells"), rows)


def settings(run: OpenRun) -> Table:
    """Return everything that made the run: model, rule, options, data, versions."""
    config = run.config
    place = config.get("environment") or environment()
    options = config["options"]
    seed = options.get("seed", _merged(options.get("layers") or [{}]).get("seed"))
    data = config.get("data", {"source": run.data.name}) | {"fingerprint": config["fingerprint"]}
    groups = [
        ("model", config["model"]),
        ("rule", config["rule"]),
        ("data", data),
        ("fit", options),
        ("made with", {**place, "seed": seed}),
    ]
    rows: list[tuple[str, ...]] = [(group, *pair) for group, values in groups for pair in _flat(values)]
    return Table(("part", "setting", "value"), rows)


def commands(run: OpenRun) -> list[str]:
    """Return the commands that repeat the run in a new folder; none if it was made from Python."""
    given = run.config.get("commands", [])
    again = f"{run.folder.path.name}-again"
    lines = [shlex.join(["harmonium", *_into(command, again)]) for command in given]
    evaluation = main_evaluation(run)
    if lines and evaluation is not None and "command" in evaluation:
        lines.append(shlex.join(["harmonium", *_into(evaluation["command"], again)]))
    return lines


def _into(command: list[str], folder: str) -> list[str]:
    return [folder if part == "RUN" else part for part in command]


def _training(run: OpenRun) -> str:
    model, rule = run.model, run.config["rule"]
    if not isinstance(model, PairwiseModel):
        return network_training(run)
    layers = [
        f"{units(model.layer(block))} as its {block} layer{_within(run, block)}"
        for block in model.outward(("visible",))
    ]
    _, name = _MODELS.get(model.kind, (model.kind,) * 2)
    rule = rule["layers"][-1] if run.greedy else rule
    last = {record.get("layer", JOINT): record for record in run.records}
    epochs = last.get(JOINT, {}).get("epoch", 0)
    seconds = sum(record.get("seconds") or 0.0 for record in last.values())
    details = ", ".join(f"{name} {rule[name]}" for name in ("chains", "steps") if name in rule)
    text = (
        f"A {name} with {' and '.join(layers)} was trained for {epochs:,} "
        f"epoch{'s' if epochs != 1 else ''} on {len(run.data.train):,} rows of {run.data.name} by "
        f"{_RULES.get(rule['name'], rule['name'])}"
    )
    text += f" ({details})" if details else ""
    if run.greedy:
        before = " and ".join(f"{own['epoch']:,}" for name, own in last.items() if name != JOINT)
        text += f", after its RBMs had been trained layer by layer for {before} epochs"
    return text + (f", which took {duration(seconds)}." if seconds else ".")


def _quality(run: OpenRun) -> Iterator[str]:
    found = main_evaluation(run)
    if found is None:
        yield (
            "It has not been evaluated. Until then the curves below tell whether training went on, "
            "but not how good the model is."
        )
        return
    if not isinstance(run.model, PairwiseModel):
        yield from network_quality(run, found)
        if found.get("note"):
            yield f"Mind that {found['note']}."
        return
    deep = found.get("bound") is not None
    text = (
        f"On {found['rows']:,} {found['split']} rows{binarised(found)} its mean log-likelihood is "
        f"{found['mean']:.2f} nats a row, with a Monte-Carlo error of {short(found['standard_error'])}"
    )
    text = bounded(found) if deep else text
    if found["method"] == "exact":
        text += "; the partition function was enumerated, so there is nothing to bracket."
    else:
        low, high = found["lower"], found["upper"]
        ends = f"between {low:.3f} and {high:.3f}"
        if low > high:
            errors = "within" if found["trusted"] else "beyond"
            ends = f"at {low:.3f} and {high:.3f}, ends that cross {errors} their errors"
        text += (
            f". Annealing in both directions puts {'the estimate' if deep else 'it'} {ends}. "
            f"Another {found['split']} set of this size would move it by about "
            f"{short(found['data_standard_error'])}."
        )
    yield text
    yield from own_units(found)
    yield from baseline(found)
    yield from wrong_labels(found)
    if found.get("note"):
        yield f"Mind that {found['note']}."


def _of_evaluation(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    z = found["log_partition"]
    error = short(z["standard_error"])
    if found.get("importance_samples"):
        worth = f"{short(found['importance_ess'])} of {found['importance_samples']:,}"
        yield (
            "worth of a row's samples",
            worth,
            "",
            "of the hidden layers; if it is small, the estimate is low",
        )
    yield "log Z", f"{z['value']:.3f} ± {error}", "", f"by {z['method']}; from it comes the likelihood"
    if z["method"] == "exact":
        return
    for name, end in (("forward", "lower"), ("reverse", "upper")):
        value = f"{z[end]:.3f} ± {short(z[f'{end}_standard_error'])}"
        yield f"{name} estimate", value, "", "the two should agree within their errors"
    size = f"{z['effective_sample_size']:.1f} of {found['settings']['runs']}"
    yield "effective runs", size, "", "of the worse direction; below a tenth the number is not trusted"


def _of_training(last: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    meanings = {
        "train/free_energy": "of training rows, in nats; lower is more probable",
        "chains/free_energy": "of the chains; should come near that of the rows as the model does",
        "validation/pseudo_likelihood": "log pseudo-likelihood of validation rows, nats per row",
        "validation/reconstruction_error": "mean squared; no measure of quality, only of change",
        "train/hidden_mean": "mean activity of the hidden units; at 0 or 1 they are dead",
        "weight/norm": "of all weights; should level off",
    }
    for name, meaning in meanings.items():
        if last.get(name) is not None:
            yield name.replace("/", ": ").replace("_", " "), f"{last[name]:.4g}", "", meaning


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if name == "layers" and isinstance(value, list) and all(isinstance(own, dict) for own in value):
            value = _merged(value)
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, "default" if value is None else str(value)


def _merged(layers: list[dict[str, Any]]) -> dict[str, Any]:
    """Return settings of layers as one: the value where all have the same, else a list of theirs."""
    names = dict.fromkeys(name for own in layers for name in own)
    values = {name: [own.get(name) for own in layers] for name in names}
    return {name: each[0] if all(v == each[0] for v in each) else each for name, each in values.items()}


def _within(run: OpenRun, block: str) -> str:
    """Say so where the units of a layer are coupled to each other."""
    assert isinstance(run.model, PairwiseModel)
    return "" if run.model.lateral(block) is None else ", coupled to each other,"


def _last(run: OpenRun, name: str) -> float | None:
    return run.records[-1].get(name) if run.records else None
