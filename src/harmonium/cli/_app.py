"""The commands' names, arguments and help."""

from __future__ import annotations

__all__ = ["app", "main"]

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import ArgumentError, ArgumentTypeError, HarmoniumError

INTERRUPTED = 130


class Commands(TyperGroup):
    """Creates the group of all commands, which words every mistake in one line."""

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run a command and leave with its exit code."""
        try:
            code = super().main(args, "harmonium", standalone_mode=False)
        except (ArgumentError, ArgumentTypeError) as error:
            _fail(str(error), 2)
        except HarmoniumError as error:
            _fail(str(error), 1)
        except BrokenPipeError:
            sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            sys.exit(1)
        except OSError as error:
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            _fail(_usage(error), getattr(error, "exit_code", 2))
        if code == INTERRUPTED:
            _fail("interrupted", INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


def _usage(error: Any) -> str:
    """Word a mistake in the use of a command, and say where its help is."""
    message = error.format_message().rstrip(".")
    if "extra argument" in message and "=" in message:
        message += "; every setting needs a --set of its own"
    context = getattr(error, "ctx", None)
    place = context.command_path if context is not None else "harmonium"
    return f"{message} (see {place} --help)"


def _fail(message: str, code: int) -> NoReturn:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


app = typer.Typer(
    cls=Commands,
    name="harmonium",
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Arguments:
        arguments: What was typed after ``harmonium``; by default what the shell gave.
    """
    app(None if arguments is None else list(arguments))


class Start(StrEnum):
    """Where chains start."""

    noise = "noise"
    data = "data"
    chains = "chains"


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; give it again for another."),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="NAME=TREATMENT",
        help="How a column of a table is treated: bernoulli, categorical, gaussian, standardise, "
        "log-standardise, quantile, drop, levels:a|b, unseen or +unseen; give it again for another.",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of words.", show_default=False)
]
Other = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME_OR_PATH",
        help="Take these data in place of the run's own.",
        show_default=False,
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder.", show_default=False)]


def _print_version(wanted: bool) -> None:
    if wanted:
        print("harmonium", installed_version("harmonium"))
        raise typer.Exit


def _print_settings(wanted: bool) -> None:
    if wanted:
        from ._settings import print_settings

        print_settings()
        raise typer.Exit


@app.callback(epilog="Start here: harmonium demo", invoke_without_command=True)
def _harmonium(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Boltzmann machines and their relatives, with likelihoods that can be believed."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command(
    epilog="Example: harmonium train rbm --data digits --out runs/digits --set hidden=128 "
    "--set epochs=50 --set rule=pcd --set rule.chains=500"
)
def train(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="The kind of model: rbm, boltzmann, dbn, dbm, gan, mlp or autoencoder."
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_PATH",
            help="A data set by name (see: harmonium data), an .npy, .npz, .csv, .tsv, .parquet or .fasta "
            "file, a folder of images, or an LMDB database of them.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="A new folder for the run.")],
    settings: Settings = None,
    columns: Columns = None,
    listing: Annotated[
        bool,
        typer.Option(
            "--settings",
            help="List every key of --set with its meaning, and stop.",
            callback=_print_settings,
            is_eager=True,
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a model, and keep the run in a folder.

    The folder holds config.json, metrics.jsonl, checkpoints and, at the end, model.safetensors. Ctrl-C
    ends training after the update at hand and saves what there is; harmonium resume goes on from there.

    A dbn takes a list of layers, as --set "hidden=[500,500,2000]", and is trained layer by layer; a
    setting of the fit may be a list as well, with a value for each. A dbm has layers too, and learns
    all at once, best by --set rule=variational-pcd (with rule.hidden_pace=0.2 where it begins with random
    weights and has many hidden units); with --set pretrain=greedy it is trained layer by layer before,
    and a list has a value for each layer and one for all at once. An mlp (classifier) and an autoencoder
    begin with random weights; they take grey values as they are (data.binarisation=none) unless told. So
    does a gan, whose two networks are of a family, as --set network=dcgan, and play for --set
    rule.loss=hinge.

    A table whose first line names its columns has visible units that fit them: see harmonium describe. It may
    be larger than memory. One of 0 and 1 alone is an array of bits unless --set data.table=true. Aligned
    sequences (.fasta) have a unit for each site; --set data.reweight=0.8 weighs those with relatives less.
    """
    from ._train import train

    train(model, data, out, settings or [], columns or [], as_json)


@app.command(epilog="Example: harmonium resume runs/digits --set epochs=100")
def resume(run: Run, settings: Settings = None, as_json: Json = False) -> None:
    """Go on with a run from its last checkpoint, bit for bit.

    Settings of the fit may change, such as epochs; they are kept in config.json.
    """
    from ._train import resume

    resume(run, settings or [], as_json)


@app.command(
    epilog="Example: harmonium finetune runs/dbn --out runs/classes --set dropout=0.2 --set epochs=50 "
    "--set lr=0.1"
)
def finetune(
    run: Run,
    out: Annotated[Path, typer.Option(metavar="NEW", help="A new folder for the run that follows.")],
    settings: Settings = None,
    beside: Annotated[
        bool,
        typer.Option("--beside", help="Train the same classifier from random weights too, in NEW/beside."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune a dbn or a dbm that was trained without labels: to classify, to reconstruct, or as a whole.

    With --set rule=cross-entropy (the default) it becomes a classifier of the labels of its data, with
    dropout=0.5 and input_dropout=0.2 if wanted, and rule.adversarial=0.1 to learn from rows that such a
    step has moved against their label as well. A dbn can also become an autoencoder, with
    rule=reconstruction, or stay a dbn whose layers all learn at once, with rule=wake-sleep.

    Data are those of RUN, other than that the first two take grey values as they are
    (data.binarisation=none) unless told. They keep the epoch that does best on the validation rows
    (patience=null: the last one), and score the test rows once, at the end. With --beside the report
    compares the classifier with the same network from random weights, of its own units and of ReLU,
    which is trained by the same settings.
    """
    from ._finetune import finetune

    finetune(run, out, settings or [], as_json, beside)


@app.command(epilog="Example: harmonium evaluate runs/digits --set runs=500 --set betas=10000")
def evaluate(
    run: Run,
    split: Annotated[str, typer.Option(help="The rows to score: test, validation or train.")] = "test",
    method: Annotated[str, typer.Option(help="How log Z is estimated: auto, exact, ais or bridge.")] = "auto",
    data: Other = None,
    settings: Settings = None,
    growth: Annotated[
        bool,
        typer.Option("--growth", help="Score a dbn cut after each of its layers too, each with its log Z."),
    ] = False,
    report: Annotated[bool, typer.Option(help="Write report.html as well.")] = True,
    as_json: Json = False,
) -> None:
    """Estimate a run's log-likelihood, with both ends and their errors.

    Of a dbn or a dbm it is a bound and an estimate from samples of the hidden layers (--set samples=100 for
    each row), and with a label how often it is wrong (of a dbm by mean field, or by --set
    inference=multi-inference); of an mlp or an autoencoder its error; of a gan how well its discriminator
    tells made rows from data.

    The estimate goes into evaluation.json, in place of an earlier one of the same split. The data must be
    those that the run began with, unless others are named by --data (and loaded by --set data.KEY=VALUE),
    of which there is no report.
    """
    from ._evaluate import evaluate

    evaluate(run, split, method, data, settings or [], growth, report, as_json)


@app.command(epilog="Example: harmonium sample runs/digits --n 100 --means --out samples.png")
def sample(
    run: Run,
    out: Annotated[
        Path,
        typer.Option(
            help="Where to write: .png is a picture, .npy, .csv, .tsv or .parquet rows, .fasta sequences."
        ),
    ],
    n: Annotated[int, typer.Option("--n", "--rows", help="How many samples.")] = 100,
    steps: Annotated[int, typer.Option(help="Gibbs steps of each chain.")] = 1000,
    temperature: Annotated[float, typer.Option(help="Below 1 more typical, above 1 more varied.")] = 1.0,
    replicas: Annotated[int, typer.Option(help="Of each chain: more than one makes parallel tempering.")] = 1,
    seed: Annotated[int, typer.Option(help="The seed of the chains.")] = 0,
    means: Annotated[
        bool, typer.Option("--means/--no-means", help="Write the means of the units, not draws.")
    ] = False,
    start: Annotated[
        Start, typer.Option("--from", help="Where the chains start; training's own are 'chains'.")
    ] = Start.noise,
    label: Annotated[
        int | None, typer.Option(help="The label of all samples, of a model with one.", show_default=False)
    ] = None,
    clamp: Annotated[
        str | None,
        typer.Option(
            help="What samples keep: left, right, top or bottom of test images; or an .npy, .csv or .tsv "
            "file of rows, empty (NaN) where they are free.",
            metavar="HALF_OR_PATH",
            show_default=False,
        ),
    ] = None,
    data: Other = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Draw samples from a run's model, as a picture or as rows.

    With --clamp they are completions: of halves of images, of one kind of data given another, of whatever
    the rows of a file tell. One row is kept by all samples; of several each sample has the next one.

    Of a model of tables a .csv, .tsv or .parquet file has cells by the names of columns, in their own units,
    and may be of any length: rows are drawn and written in blocks.
    """
    from ._sample import sample

    held = (label, clamp)
    sample(run, out, n, steps, temperature, replicas, seed, means, start.value, *held, data, force, as_json)


@app.command(
    epilog="Example: harmonium measure samples.npy --data mnist --set data.binarisation=none --out table.json"
)
def measure(
    samples: Annotated[
        Path,
        typer.Argument(
            metavar="SAMPLES_OR_RUN",
            help="An .npy or .npz file of rows, or a run folder.",
            show_default=False,
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME_OR_PATH",
            help="The data set to hold them against; by default the run's own.",
            show_default=False,
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="How many rows to compare, at most.")] = 10_000,
    steps: Annotated[int, typer.Option(help="Gibbs steps of each chain of a run's model.")] = 1000,
    means: Annotated[
        bool, typer.Option("--means/--no-means", help="Take the means of a model's units, not draws.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The seed of samples, and of the rows to compare.")] = 0,
    features_seed: Annotated[
        int,
        typer.Option(help="The seed of the nets that make features; compare tables of the same only."),
    ] = 0,
    parzen: Annotated[
        bool, typer.Option("--parzen", help="Estimate the Parzen log-likelihood of 2014 as well.")
    ] = False,
    inception: Annotated[
        Path | None,
        typer.Option(
            help="For FID: a TorchScript file of Inception, with --sha256; or torch-fidelity, if installed.",
            show_default=False,
        ),
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="The checksum of that file.", show_default=False)] = None,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option(help="A new JSON file for the table.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure samples, or a run's model by its samples, beside a floor and a ceiling.

    The floor is training rows in the place of samples, the ceiling independent pixels; all are held against
    the same test rows. Samples have the values of the test rows: bits where the data are binarised, means
    with --set data.binarisation=none. A classifier of the data is trained at first, and kept in the cache.
    The table of a run against its own data goes into its measures.json and its report, in place of an
    earlier one.
    """
    from ._measure import measure

    measure(
        samples,
        data,
        n,
        steps,
        means,
        seed,
        features_seed,
        parzen,
        inception,
        sha256,
        settings or [],
        out,
        as_json,
    )


@app.command(epilog="Example: harmonium data digits --set binarisation=threshold")
def data(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME_OR_PATH]", help="A data set, a file or a folder.", show_default=False),
    ] = None,
    settings: Settings = None,
    columns: Columns = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW",
            help="Pack a folder or database of images into this new folder.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the data sets, or describe one.

    With --out images are decoded once, into arrays in a new folder, from which rows come as they are needed.
    """
    from ._data import data

    data(name, settings or [], columns or [], out, as_json)


Delimiter = Annotated[
    str | None,
    typer.Option(help="Between the table's cells; by default a comma, or a tab in .tsv.", show_default=False),
]
Table = Annotated[
    Path,
    typer.Argument(
        metavar="TABLE",
        help="A .csv, .tsv (also .gz) or .parquet file with names of columns.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is there, done or partial.")]


@app.command(epilog="Example: harmonium describe people.csv --column age=quantile --column id=drop")
def describe(
    table: Table,
    columns: Columns = None,
    missing: Annotated[
        list[str] | None,
        typer.Option(
            "--missing", metavar="TEXT", help="A text that stands for a gap, in place of the usual ones."
        ),
    ] = None,
    delimiter: Delimiter = None,
    as_json: Json = False,
) -> None:
    """Tell how each column of a table will be treated, its gaps, and what stands in the way.

    Columns of true and false or 0 and 1 are bits, other numbers real and standardised, text is categories;
    --column changes it, here and in harmonium train. The table may be of any length. If nothing is wrong, the
    last line is the command that trains on it.
    """
    from ._tables import describe

    describe(table, columns or [], missing or [], delimiter, as_json)


@app.command(epilog="Example: harmonium impute runs/people new.csv --out filled.csv --how draw")
def impute(
    run: Run,
    table: Table,
    out: Annotated[Path, typer.Option(help="Where to write: a .csv or .tsv file.")],
    how: Annotated[str, typer.Option(help="What to fill in: mean, mode or draw.")] = "mean",
    draws: Annotated[int, typer.Option(help="Of each row with gaps.")] = 20,
    steps: Annotated[int, typer.Option(help="Gibbs steps of each draw's chain.")] = 100,
    seed: Annotated[int, typer.Option(help="The seed of the chains.")] = 0,
    intervals: Annotated[
        Path | None,
        typer.Option(help="A second file, with a line for each gap and how sure it is.", show_default=False),
    ] = None,
    share: Annotated[float, typer.Option(help="The probability of the intervals.")] = 0.9,
    delimiter: Delimiter = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fill in the gaps of a table by a run's model; all other cells stay as they came, byte for byte.

    The mean is that of draws, of bits and categories the most frequent one. The table may be of any length.
    If it is interrupted, or a row does not fit and is mended, the same command goes on where it was.
    """
    from ._tables import impute

    impute(
        run,
        table,
        out,
        as_json,
        how=how,
        draws=draws,
        steps=steps,
        seed=seed,
        intervals=intervals,
        share=share,
        delimiter=delimiter,
        force=force,
    )


@app.command(epilog="Example: harmonium score runs/people new.csv --out scores.csv")
def score(
    run: Run,
    table: Table,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to write: a .csv or .tsv file; by default TABLE.scores.csv here.", show_default=False
        ),
    ] = None,
    what: Annotated[
        str, typer.Option(help="What to write: log-likelihood, or free-energy.")
    ] = "log-likelihood",
    runs: Annotated[int, typer.Option(help="Annealing runs of a row with many gaps.")] = 20,
    betas: Annotated[int, typer.Option(help="Steps of each such run.")] = 200,
    seed: Annotated[int, typer.Option(help="The seed of all that is drawn.")] = 0,
    delimiter: Delimiter = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score each row of a table by a run's model: the log-likelihood of what is known of it, in nats.

    With --what free-energy it is minus the free energy, which is the log-likelihood up to log Z. Log Z is
    estimated once; its ends go into a .json file beside. The table may be of any length. If it is
    interrupted, or a row does not fit and is mended, the same command goes on where it was.
    """
    from ._tables import score

    score(
        run,
        table,
        out,
        as_json,
        what=what,
        runs=runs,
        betas=betas,
        seed=seed,
        delimiter=delimiter,
        force=force,
    )


@app.command(epilog="Example: harmonium demo --out my-first-run")
def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="A new folder; by default harmonium-demo, with a number if need be."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The RBM alone, trained for a few seconds.")] = False,
    as_json: Json = False,
) -> None:
    """Train a machine of each family on digits in a minute or so, evaluate them, and write reports.

    The first, an RBM, is trained the longest; RUN is its folder, and those of the others are called
    RUN-boltzmann, RUN-dbn, RUN-dbm and RUN-gan.
    """
    from ._demo import demo

    demo(out, as_json, quick)
