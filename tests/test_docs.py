"""The documentation: its programs run, its commands can be typed, and its links lead somewhere.

What a page trains and estimates is cut down to ``SMALL``; all else runs as it stands.
"""

import re
import shlex
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import typer
from PIL import Image

import harmonium as hm
from harmonium.cli import _train, app
from harmonium.cli._finetune import finetune_keys
from harmonium.cli._settings import data_keys, option_keys, read, score_keys, signature_keys
from harmonium.datasets import DATASETS, MIRRORS
from harmonium.datasets._files import SUFFIXES
from harmonium.datasets._sequences import FASTA
from harmonium.errors import ArgumentError, FileError
from harmonium.estimators import _density
from harmonium.estimators._base import Estimator
from harmonium.likelihood import ESTIMATORS
from harmonium.training import Options

ROOT = Path(__file__).parents[1]
PAGES = {str(p.relative_to(ROOT)): p for p in [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]}
PAGES_RUN = (
    "guide",
    "adversarial",
    "estimators",
    "data",
    "tables",
    "proteins",
    "imputation",
    "anomalies",
    "pipeline",
    "synthetic",
    "index",
)
PROGRAMS = ("README.md", *(f"docs/{name}.md" for name in PAGES_RUN))
COMMANDS = typer.main.get_command(app).commands
SMALL = {
    "fit": {"epochs": 1},
    "pretrain": {"epochs": 1},
    "finetune": {"epochs": 1},
    "sample": {"steps": 5},
    "log_likelihood": {"runs": 20, "betas": 50, "equilibrate": 20},
}
SPLITS = ("train", "validation", "test")
MISTYPED = (AssertionError, ArgumentError, typer.BadParameter.__base__)
"""What a command raises that cannot be typed: the last is the base of all errors in its use."""


def blocks(text, *languages):
    """Return the fenced blocks of a page in one of the languages."""
    found = re.findall(r"^```(\S*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [block for language, block in found if language in languages]


# --- programs -----------------------------------------------------------------------------------


def lowest(value, limit):
    """Return a value cut down to a limit; of a list, each of its values."""
    return [min(item, limit) for item in value] if isinstance(value, list) else min(value, limit)


def at_most(function, limits):
    """Return a function whose arguments are cut down to their limits."""

    @wraps(function)
    def small(*values, **options):
        cut = {name: lowest(options.get(name, limit), limit) for name, limit in limits.items()}
        return function(*values, **{**options, **cut})

    return small


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Go to a folder with the files that pages speak of; cut down what takes long, and load nothing new."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARMONIUM_CACHE", str(tmp_path / "cache"))
    for name in MIRRORS:
        monkeypatch.setitem(MIRRORS, name, ())
    for name, limits in SMALL.items():
        monkeypatch.setattr(hm, name, at_most(getattr(hm, name), limits))
    monkeypatch.setattr(Estimator, "_run", at_most(Estimator._run, SMALL["fit"]))
    monkeypatch.setattr(_density, "_LIKELIHOOD", SMALL["log_likelihood"])
    generator = np.random.default_rng(0)
    np.savetxt("bits.csv", generator.integers(0, 2, (700, 5)), "%d", ",")
    np.save("images.npy", generator.integers(0, 256, (20, 28, 28), np.uint8))
    for number in range(20):
        path = Path("photos", "ab"[number % 2], f"{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    np.savetxt("measured.csv", generator.normal(size=(30, 3)), delimiter=",")
    table = generator.integers(0, 3, (20, 4))
    np.savetxt("table.tsv.gz", table, "%d", "\t", header="a\tb\tc\tclass", comments="")
    people = [
        f"p{i},{a},{'' if i % 9 == 0 else 'ab'[i % 2]}" for i, a in enumerate(generator.integers(18, 90, 80))
    ]
    Path("people.csv").write_text("\n".join(["id,age,city", *people]))
    return {"x": generator.uniform(size=(20, 5)), "y": generator.uniform(size=(10, 5))}


def run(page, names):
    """Run the programs of a page one after the other; skip it where its data are not at hand."""
    programs = blocks(page, "python")
    assert programs
    for number, program in enumerate(programs, 1):
        try:
            exec(compile(program, f"block {number}", "exec"), names)
        except FileError as error:
            if "HARMONIUM_DATA" not in str(error):
                raise
            pytest.skip(f"block {number}: {error}")
    return names


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_run(name, study):
    run(PAGES[name].read_text("utf-8"), study)


def test_a_program_that_fails_is_found(study):
    with pytest.raises(NameError):
        run("```python\nx = 1\n```\n\n```python\nz\n```\n", study)
    with pytest.raises(FileError, match="no such file"):
        run('```python\nimport harmonium as hm\nhm.datasets.load("nowhere.csv")\n```\n', study)


def test_a_program_without_its_data_is_skipped(study, monkeypatch):
    monkeypatch.delenv("HARMONIUM_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="block 1: mnist"):
        run('```python\nimport harmonium as hm\nhm.datasets.load("mnist")\n```\n', study)


def test_programs_are_cut_down(study):
    page = '```python\nimport harmonium as hm\nh = hm.fit(hm.RBM(64, 2), hm.datasets.load("digits"))\n```\n'
    assert len(run(page, study)["h"].records) == 1


# --- commands -----------------------------------------------------------------------------------


def typed(text):
    """Return what pages tell to type after ``harmonium``, as lists of words."""
    lines = "\n".join(blocks(text, "bash", "sh", "console")).replace("\\\n", " ").splitlines()
    parts = [part.removeprefix("$ ") for line in lines for part in line.split(" && ")]
    found = [shlex.split(part, comments=True) for part in parts]
    return [words[1:] for words in found if words[:1] == ["harmonium"]]


def some_rows(source, **arguments):
    """Return images of bits, whatever is loaded, if it is something that can be."""
    assert source in DATASETS or source.endswith((*SUFFIXES, *FASTA, "/")), source
    images = np.tile(np.eye(4, dtype=np.uint8).repeat(16, 1), (3, 1)).reshape(12, 8, 8)
    data = hm.datasets.from_array(images, labels=np.tile(range(4), 3))
    return data.with_labels() if arguments.get("with_labels") else data


def understand(words):
    """Read a command as the command line does, settings included, without running it."""
    name, *rest = words
    assert name in COMMANDS, f"there is no command {name}"
    try:
        given = COMMANDS[name].make_context(name, rest).params
    except typer.Exit:
        return
    pairs = given.get("settings") or []
    if name == "train":
        wish = _train.understand(given["model"], given["data"], pairs)
        for layer in range(wish.stages or 1):
            Options(**{k: v[layer] if isinstance(v, list) else v for k, v in wish.options.items()})
    elif name == "resume":
        read(pairs, option_keys(layered=True))
    elif name == "finetune":
        options = {k: v for k, v in read(pairs, finetune_keys()).items() if k in Options.model_fields}
        Options(**options)
    elif name == "evaluate":
        assert given["split"] in SPLITS
        assert given["method"] in ESTIMATORS
        read(pairs, score_keys())
    elif name == "measure":
        assert given["data"] is None or some_rows(given["data"])
        read(pairs, {f"data.{key}": found for key, found in data_keys().items()})
    elif name == "data" and given["out"] is not None:
        read(pairs, signature_keys(hm.datasets.pack, but=("source", "out")))
    elif name == "data":
        assert given["name"] is None or some_rows(given["name"])
        read(pairs, data_keys())


@pytest.fixture
def no_data(monkeypatch):
    """Load nothing where a command names its data."""
    monkeypatch.setattr(_train, "load", some_rows)


@pytest.mark.parametrize("name", PAGES)
def test_commands_can_be_typed(name, no_data):
    text = PAGES[name].read_text("utf-8")
    assert not re.search(r"^(?: {4}|\t)\$? ?harmonium ", text, re.MULTILINE), "commands belong into fences"
    for words in typed(text):
        understand(words)


def test_the_guide_shows_every_command():
    shown = {words[0] for page in ("README.md", "docs/guide.md") for words in typed(PAGES[page].read_text())}
    assert shown == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_can_be_typed(name, no_data):
    before, example = COMMANDS[name].epilog.split("Example: ")
    assert before == ""
    first, *words = shlex.split(example)
    assert (first, words[0]) == ("harmonium", name)
    understand(words)


@pytest.mark.parametrize(
    "line",
    [
        "harmonium tarin rbm --data digits --out run --set hidden=8",
        "harmonium train rbm --data digits --set hidden=8",
        "harmonium train rbm --data digits --out run",
        "harmonium train dbx --data digits --out run --set hidden=8",
        "harmonium train rbm --data digit --out run --set hidden=8",
        "harmonium train rbm --data digits --out run --set hidden=8 --set epoch=3",
        "harmonium train rbm --data digits --out run --set hidden=8 --set rule=cd --set rule.chains=5",
        "harmonium train rbm --data digits --out run --set hidden=8 --set lr=-1",
        "true && harmonium sample run --n 100",
        "harmonium evaluate run --split tset",
        "harmonium train dbn --data digits --out run --set 'hidden=[8,8]' --set 'lr=[0.1,-1]'",
        "harmonium finetune run --set lr=0.1",
        "harmonium finetune run --out new --set rule=cd",
        "harmonium finetune run --out new --set lr=-1",
        "harmonium evaluate run --set epochs=3",
        "harmonium resume run --set hidden=3",
        "harmonium data digits --set seeds=1",
        "harmonium sample run --out x.png \\\n    --number 3",
    ],
)
def test_a_command_that_cannot_be_typed_is_found(line, no_data):
    (words,) = typed(f"```bash\n{line}  # a comment\n```\n")
    with pytest.raises(MISTYPED):
        understand(words)


# --- links --------------------------------------------------------------------------------------


def links(text):
    """Return the relative targets of a page's links and pictures."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(<?([^)\s>]+)", text) + re.findall(r"^\[[^\]]+\]: *(\S+)", text, re.MULTILINE)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(text):
    """Return the names by which a page's headings can be linked to."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def broken(page):
    """Return the links of a page that lead nowhere."""
    missing = []
    for target in links(page.read_text("utf-8")):
        path, _, anchor = target.partition("#")
        goal = page.parent / path if path else page
        if not goal.exists() or (anchor and anchor not in anchors(goal.read_text("utf-8"))):
            missing.append(target)
    return missing


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    assert broken(PAGES[name]) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# Some words\n")
    page.write_text(
        "# Here\n[a](other.md) [b](https://x.org/y) [c](other.md#some-words) [d](#here)\n"
        "[e](gone.md) ![f](images/gone.png) [g](other.md#gone) [h](#gone) `[i](code.md)`\n"
        "```python\nx[j](k)\n```\n"
    )
    assert broken(page) == ["gone.md", "images/gone.png", "other.md#gone", "#gone"]


# --- tables and names -----------------------------------------------------------------------------


def rows(text, heading):
    """Return the cells of the first table after a heading, without its head."""
    lines = text.partition(f"\n{heading}\n")[2].partition("\n|")[2].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[1:]]


@pytest.fixture(scope="module")
def table():
    """Return the rows of the table of data sets, by the name of the set."""
    found = rows(PAGES["docs/data.md"].read_text("utf-8").partition("## Where")[0], "## Names")
    return {name.strip("`"): cells for name, *cells in found}


def test_the_table_of_data_sets_is_complete(table):
    assert list(table) == list(DATASETS)
    for name, (shape, _, _) in table.items():
        entry = DATASETS[name]
        assert shape.split(",")[0] == f"{'x'.join(map(str, entry.shape))} {entry.values}"


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.shape != (28, 28)])
def test_the_table_of_data_sets_has_their_sizes(name, table, study):
    try:
        data = hm.datasets.load(name)
    except FileError as error:
        pytest.skip(str(error))
    sizes = re.findall(r"[\d,]+", table[name][1])
    assert [int(size.replace(",", "")) for size in sizes] == [len(getattr(data, split)) for split in SPLITS]


def test_the_reference_has_every_public_name():
    text = (ROOT / "docs/api.rst").read_text("utf-8")
    table, _, rest = text.partition(".. contents::")
    named = set(re.findall(r"``(\w+)``", table.partition(".. list-table::")[2]))
    assert named == {*hm.__all__}
    covered = re.findall(r"^\.\. automodule:: (\S+)$", rest, flags=re.MULTILINE)
    rooms = {value.__name__ for value in map(import_module, covered)}
    homes = {v.__name__ for v in (getattr(hm, name) for name in hm.__all__) if isinstance(v, ModuleType)}
    assert homes | {f"harmonium.{room}" for room in hm._ROOMS} <= rooms
