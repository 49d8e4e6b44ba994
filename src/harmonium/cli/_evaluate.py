"""Evaluation: a run's log-likelihood, or its error, with all that is needed to believe it or not."""

from __future__ import annotations

__all__ = ["conclude", "evaluate", "evaluate_run", "tell"]

import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset, summary
from ..errors import ArgumentError, DataError, choose
from ..files import write_json
from ..learning import reconstruction_errors
from ..likelihood import ESTIMATORS, log_likelihood, log_partition
from ..models import DBM, DBN, GAN, MLP, Autoencoder, PairwiseModel, error_rate, has_label, predict_proba
from ..random import Stream
from ..report import (
    EVALUATION,
    OpenRun,
    bound_growth,
    measures_lead,
    measures_table,
    open_run,
    write_report,
)
from ..samplers import generate
from ..training import changed_splits, spread
from ._console import plain, print_commands, print_json, print_table, quiet_steps, say
from ._data import other_data
from ._settings import data_keys, estimate_keys, read, score_keys, under

_SPLITS = ("test", "validation", "train")
_MEANS = (
    "the rows are means, not states (binarisation none), so the number is no log-likelihood of data "
    "that exist"
)
_INFERRED = ("inference", "sweeps")
_OTHERS = ("samples", *_INFERRED)
"""Settings that are none of log Z's."""
_DEEP = ("bound", "bound_standard_error", "importance_samples", "importance_ess", "importance_bias")


def evaluate(
    path: Path,
    split: str,
    method: str,
    source: str | None,
    pairs: list[str],
    growth: bool,
    report: bool,
    as_json: bool,
) -> None:
    """Score a split, write down what came out, and print it."""
    choose("--split", split, _SPLITS)
    choose("--method", method, ESTIMATORS)
    loading = {f"data.{name}": key for name, key in data_keys().items()}
    values = read(pairs, score_keys() | loading)
    settings = {"method": method, **{name: value for name, value in values.items() if name not in loading}}
    run = open_run(path, other_data(path, source, under("data.", values)))
    found = evaluate_run(run, split, settings, growth, _typed(source, pairs))
    page = write_report(path) if report and source is None else None
    if as_json:
        measures = {"measures": run.measures()} if isinstance(run.model, GAN) else {}
        print_json({**found, **measures, "report": None if page is None else str(page)})
        return
    tell(run, found)
    if isinstance(run.model, GAN):
        _tell_measures(run)
    if page is not None:
        say(f"Report: {page}")


def evaluate_run(
    run: OpenRun,
    split: str,
    settings: dict[str, Any],
    growth: bool = False,
    typed: Sequence[str] = (),
) -> dict[str, Any]:
    """Score a split as the model asks for, and write what came out into the run folder.

    Of a model with a likelihood it is estimated, and wrong labels are counted, if it has a label; of a
    classifier they alone are; of an autoencoder it is its error; of a generative adversarial network it is
    in how many pairs its discriminator tells a made row from one of the split.

    The numbers of other data than the run's own stand beside those of its splits, under the name of both.

    Arguments:
        run: The run.
        split: ``test``, ``validation`` or ``train``.
        settings: Arguments of :func:`harmonium.log_partition`, the ``samples`` of a deep model's layers, and
            how a deep Boltzmann machine infers its label, ``inference`` and ``sweeps``.
        growth: Whether to score a deep belief network cut after each of its layers as well.
        typed: What else was typed.

    Raises:
        ArgumentError: A setting is of another model.
        DataError: The split has no rows.
    """
    data = run.data.with_labels() if isinstance(run.model, MLP) else run.data
    rows = data.fixed(split)
    if not len(rows):
        raise DataError(f"--split: the {split} set of {run.data.name} has no rows")
    _check_settings(run, settings, growth)
    began = time.monotonic()
    method: list[str] = []
    if isinstance(run.model, MLP):
        found = _of_classifier(run.model, rows, data)
    elif isinstance(run.model, Autoencoder):
        found = _of_autoencoder(run.model, rows, run.data)
    elif isinstance(run.model, GAN):
        found = _of_game(run.model, rows, run.data)
    else:
        found = _of_likelihood(run, split, rows, settings, growth)
        pairs = [f"{name}={value}" for name, value in settings.items() if name != "method"]
        method = ["--method", found["settings"]["method"]]
        method += [*(part for pair in pairs for part in ("--set", pair)), *(["--growth"] if growth else [])]
    found = {
        "split": split,
        "data": run.data.name,
        **found,
        "seconds": round(time.monotonic() - began, 3),
        "command": ["evaluate", "RUN", "--split", split, *method, *typed],
    }
    found = plain(found)
    own = not changed_splits(run.config, run.data)
    place = split if own else f"{split} of {run.data.name}"
    write_json(run.folder.path / EVALUATION, {"version": 1, **run.evaluations(), place: found})
    return found


def _check_settings(run: OpenRun, settings: dict[str, Any], growth: bool) -> None:
    """Refuse what the model cannot be asked for."""
    model = run.model
    if isinstance(model, MLP | Autoencoder | GAN):
        others = [name for name in settings if name != "method"] + (["growth"] if growth else [])
        if settings.get("method", "auto") != "auto":
            others.append("method")
        for name in others:
            raise ArgumentError(f"{name}: a model of kind {model.kind} has no likelihood to estimate")
        return
    if growth and not isinstance(model, DBN):
        raise ArgumentError(f"growth: only for a deep belief network, and this is a {model.kind}")
    inferred = [name for name in settings if name in _INFERRED]
    if inferred and not (isinstance(model, DBM) and _counts_labels(run)):
        raise ArgumentError(f"{inferred[0]}: only for the label of a dbm, and this {model.kind} infers none")
    if "samples" in settings and isinstance(model, PairwiseModel) and model.hidden_sums_out():
        raise ArgumentError(
            f"samples: only for a deep model, and the hidden units of this {model.kind} sum out"
        )


def _counts_labels(run: OpenRun) -> bool:
    return has_label(run.model) and run.data.schema is None


def _of_likelihood(
    run: OpenRun, split: str, rows: Tensor, settings: dict[str, Any], growth: bool
) -> dict[str, Any]:
    model = run.model
    assert isinstance(model, DBN | PairwiseModel)
    given = {name: value for name, value in settings.items() if name not in _OTHERS}
    used = {name: key.default for name, key in estimate_keys().items()} | given
    samples = {name: settings[name] for name in settings if name == "samples"}
    how = {name: settings[name] for name in settings if name in _INFERRED}
    means = run.data.binarisation == "none"
    with quiet_steps() as progress:
        log_z = log_partition(model, chains=run.chains, progress=progress, **used)
        result = log_likelihood(
            model, rows, log_partition=log_z, means=means, seed=used["seed"], **samples
        ).to_dict()
        rest = {"top": log_z, "means": means, "progress": progress, **samples, **used}
        grown = {"growth": bound_growth(run, rows, **rest)} if growth else {}
    if result["bound"] is not None:
        error = math.hypot(result["bound_standard_error"], log_z.upper_standard_error)
        result["bound_error"] = error
    else:
        result = {name: value for name, value in result.items() if name not in _DEEP}
    transform = run.data.transform
    if transform is not None:
        result |= {"transform": str(transform), "log_determinant": transform.log_determinant}
    return {
        **result,
        **_units(run),
        "binarisation": run.data.binarisation,
        "baseline_log_likelihood": summary(run.data)["baseline_log_likelihood"] if split == "test" else None,
        "error": error_rate(model, rows, **how) if _counts_labels(run) else None,
        "note": _MEANS if means else _note(run),
        **grown,
        "settings": {**used, **samples, **how},
        "chains": 0 if run.chains is None else len(run.chains),
    }


def _units(run: OpenRun) -> dict[str, Any]:
    """Return what nats of a table are of."""
    schema = run.data.schema
    return {} if schema is None else {"units": "table" if schema.has_density else "transformed columns"}


def _note(run: OpenRun) -> str:
    """Return which columns of a table have no density in its own units, if some have none."""
    schema = run.data.schema
    none = [] if schema is None else [column.name for column in schema.columns if not column.has_density]
    names = ", ".join(none)
    why = f"there is no density in the table's units of {names}"
    return f"nats are those of the columns as transformed: {why}" if none else ""


def _of_classifier(model: MLP, rows: Tensor, data: Dataset) -> dict[str, Any]:
    p, codes = predict_proba(model, rows).cpu(), rows[:, -1].long()
    guessed = p.argmax(1)
    wrong, n = int((guessed != codes).sum()), len(rows)
    table = torch.bincount(codes * model.classes + guessed, minlength=model.classes**2)
    log_p = p.gather(1, codes[:, None]).log()
    return {
        "rows": n,
        "wrong": wrong,
        "error": wrong / n,
        "standard_error": math.sqrt(wrong * (n - wrong) / n**3),
        "cross_entropy": float(-log_p.mean()),
        "confusion": table.view(model.classes, model.classes).tolist(),
        "classes": list(data.classes or range(model.classes)),
        "binarisation": data.binarisation,
    }


@torch.no_grad()
def _of_autoencoder(model: Autoencoder, rows: Tensor, data: Dataset) -> dict[str, Any]:
    s = model.visible.statistics(rows.to(model.device))
    errors = reconstruction_errors(model, s)
    spread = float(errors.std()) / math.sqrt(len(rows)) if len(rows) > 1 else math.inf
    return {
        "rows": len(rows),
        "loss": float(errors.mean()),
        "standard_error": spread,
        "mean_squared_error": float((model.reconstruct(s) - s).square().mean()),
        "binarisation": data.binarisation,
    }


@torch.no_grad()
def _of_game(model: GAN, rows: Tensor, data: Dataset) -> dict[str, Any]:
    made, n = generate(model, len(rows), Stream(0, "evaluate")), len(rows)
    scores, others = model.score(rows), model.score(made)
    told = float((0.5 * (scores > others) + 0.5 * (scores >= others)).mean())
    return {
        "rows": n,
        "told": told,
        "standard_error": math.sqrt(told * (1 - told) / n),
        "score": float(scores.mean()),
        "made_score": float(others.mean()),
        "spread": spread(model, made, rows),
        "binarisation": data.binarisation,
    }


def conclude(run: OpenRun, *, show: bool) -> dict[str, Any]:
    """Score the validation and the test rows of a network whose training has ended.

    Arguments:
        run: The run of a classifier or an autoencoder.
        show: Whether to print both.

    Returns:
        The epoch whose parameters the network has, and the two evaluations.
    """
    held_out = {"validation": run.data.validation, "test": run.data.test}
    found = {split: evaluate_run(run, split, {}) for split, rows in held_out.items() if len(rows)}
    if show and found:
        rows = [(split, *_scored(run, one)) for split, one in found.items()]
        name = "wrong labels" if isinstance(run.model, MLP) else "error, nats per row"
        print_table(f"With the weights of epoch {run.chosen}:", ("", name, "", ""), rows)
    return {"epoch": run.chosen, "evaluation": found}


def _scored(run: OpenRun, found: dict[str, Any]) -> tuple[str, str, str]:
    """Return the error of a network without a likelihood, its standard error, and over how many rows."""
    if isinstance(run.model, MLP):
        share = f"{found['wrong']:,} of {found['rows']:,} rows"
        return f"{found['error']:.2%}", f"± {found['standard_error']:.2%} over rows", share
    return f"{found['loss']:.3f}", f"± {_error(found['standard_error'])} over rows", f"{found['rows']:,} rows"


def tell(run: OpenRun, found: dict[str, Any]) -> None:
    """Print an evaluation."""
    how = f" ({found['binarisation']})" if found["binarisation"] else ""
    what = f"{found['rows']:,} {found['split']} rows of {found['data']}{how}"
    if isinstance(run.model, MLP | Autoencoder):
        _tell_error(run, found, what)
        return
    if isinstance(run.model, GAN):
        _tell_game(found, what)
        return
    z = found["log_partition"]
    rows = [
        ("mean", f"{found['mean']:.3f}", f"± {_error(found['standard_error'])} Monte Carlo"),
        ("", "", f"± {_error(found['data_standard_error'])} over rows"),
        ("lower end", f"{found['lower']:.3f}", f"± {_error(z['upper_standard_error'])}"),
        ("upper end", f"{found['upper']:.3f}", f"± {_error(z['lower_standard_error'])}"),
    ]
    if "bound" in found:
        rows = [*_of_bound(found), ("estimate", *rows[0][1:]), *rows[1:]]
    if found["log_determinant"] is not None:
        table = "transform" not in found
        how = f"rows by {found.get('transform')}; log-determinant"
        how = "the columns as transformed; log-Jacobian" if table else how
        own = f"the above are of {how} {found['log_determinant']:.3f}"
        whose = "the table's units" if table else "the rows' units"
        rows.append((f"in {whose}", f"{found['mean'] + found['log_determinant']:.3f}", own))
    if found["baseline_log_likelihood"] is not None:
        floor = found["baseline_log_likelihood"]
        above = found["mean"] > floor
        told = (
            "the floor" if above else "the floor, which the model does not clear: it has learnt nothing yet"
        )
        rows.append(("independent units", f"{floor:.3f}", told))
    if isinstance(run.model, DBN):
        ends = f"from {z['lower']:.3f} to {z['upper']:.3f}, by {found['method']}"
        rows.append(("log Z of the top", f"{z['value']:.3f}", ends))
    else:
        rows.append(("log Z", f"{z['value']:.3f}", f"by {found['method']}"))
    if found["error"] is not None:
        spread = math.sqrt(found["error"] * (1 - found["error"]) / found["rows"])
        rows.append(("wrong labels", f"{found['error']:.2%}", f"± {spread:.2%} over rows"))
    crossed = "the ends cross, within their errors" if found["lower"] > found["upper"] else ""
    rows.append(("trusted", "yes" if found["trusted"] else "no", found["reason"] or crossed))
    print_table(f"Log-likelihood of {what}, nats per row", ("", "", ""), rows)
    if "growth" in found:
        _tell_growth(found)
    if found["note"]:
        say(f"Note: {found['note']}.")


def _typed(source: str | None, pairs: list[str]) -> list[str]:
    """Return what was typed to load other data than the run's own."""
    if source is None:
        return []
    own = (pair for pair in pairs if pair.startswith("data."))
    return ["--data", source, *(part for pair in own for part in ("--set", pair))]


def _of_bound(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return what a deep model tells besides its estimate."""
    rows = [("bound", f"{found['bound']:.3f}", f"± {_error(found['bound_error'])} Monte Carlo")]
    if found["importance_samples"]:
        worth = f"of {found['importance_samples']:,} for each row"
        rows.append(("effective samples", _error(found["importance_ess"]), worth))
    return rows


def _tell_growth(found: dict[str, Any]) -> None:
    rows = [
        (
            "–".join(map(str, own["units"])),
            f"{own['bound']:.3f}",
            f"± {_error(own['bound_error'])}",
            f"{own['estimate']:.3f}",
            f"{own['log_partition']['lower']:.3f}",
            f"{own['log_partition']['upper']:.3f}",
            "yes" if own["trusted"] else "no",
        )
        for own in found["growth"]
    ]
    head = ("hidden layers", "bound", "", "estimate", "log Z from", "to", "trusted")
    print_table("Of the network cut after each RBM, labels left out, nats per row", head, rows, right=6)


def _tell_error(run: OpenRun, found: dict[str, Any], what: str) -> None:
    """Print the error of a network without a likelihood."""
    value, error, share = _scored(run, found)
    if isinstance(run.model, MLP):
        rows = [("wrong labels", value, error), ("", "", share)]
        if found["cross_entropy"] is not None:
            rows.append(("cross-entropy", f"{found['cross_entropy']:.4f}", "nats per row"))
        print_table(f"Classification of {what}", ("", "", ""), rows)
        return
    rows = [("error", value, error), ("mean squared error", f"{found['mean_squared_error']:.4g}", "")]
    print_table(f"Reconstruction of {what}, nats per row", ("", "", ""), rows)


def _tell_game(found: dict[str, Any], what: str) -> None:
    """Print how well a discriminator tells made rows from data."""
    rows = [
        (
            "told from data",
            f"{found['told']:.2%}",
            f"± {found['standard_error']:.2%} over pairs; 50% at best",
        ),
        ("score of data", f"{found['score']:.3f}", ""),
        ("score of made rows", f"{found['made_score']:.3f}", ""),
        ("spread", f"{found['spread']:.3f}", "variance of made rows over that of data; 1 is best"),
    ]
    print_table(f"Made rows against {what}, by the run's own discriminator", ("", "", ""), rows)


def _tell_measures(run: OpenRun) -> None:
    """Print what was measured of a run's samples, or the command that measures them."""
    table = measures_table(run)
    if table is None:
        command = f"harmonium measure {shlex.quote(str(run.folder.path))}"
        print_commands("None of this says how good the rows are; this measures them:", [command])
        return
    print_table("Measures of samples, as kept in the run folder", table.head, table.rows, len(table.head) - 1)
    say(measures_lead(run))


def _error(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"
