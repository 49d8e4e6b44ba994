"""The house rules: who may import whom, what every module states, and what none may contain."""

import ast
import importlib
import inspect
from pathlib import Path
from types import SimpleNamespace

import pytest

import harmonium

SOURCE = Path(harmonium.__file__).parent
ORDER = (
    *("errors", "files", "settings", "threads", "kernels", "random", "units", "models", "samplers"),
    *("likelihood", "tables", "learning", "training", "features", "measures"),
    *("report", "estimators", "explore", "cli", "__main__"),
)
APART = ("metrics", "datasets", "plots")
FOR_ALL = ("errors", "random", "threads")
FORBIDDEN = ("pickle.load", "torch.load(", "joblib.load", "allow_pickle=True")


def modules(package):
    """Return the files of a package by the dotted name of their module."""
    files = {}
    for file in sorted(package.rglob("*.py")):
        parts = [package.name, *file.relative_to(package).with_suffix("").parts]
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def imports(name, file, known):
    """Return the modules of the package that a module imports, anywhere in it."""
    here = name.split(".") if file.stem == "__init__" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            parts = {f"{source}.{alias.name}" for alias in node.names}
            found |= parts & known.keys()
            if not parts <= known.keys():
                found.add(source)
    root = name.split(".")[0]
    return {target for target in found if target.split(".")[0] == root}


def room(name):
    """Return the room of a module; that of the package itself is empty."""
    return name.split(".")[1] if "." in name else ""


def fault(source, target):
    """Return why one room may not import from another, or nothing."""
    if source == target:
        return None
    for name in (source, target):
        if name not in ORDER + APART:
            return f"{name or 'the package itself'!r} has no place in the order"
    if source in APART:
        return None if target in FOR_ALL else f"{source} stands apart"
    place = ORDER.index("random") if target in APART else ORDER.index(target)
    return None if place < ORDER.index(source) else f"{target} is not to the left of {source}"


def upward(package):
    """Return a line for each import that goes against the order."""
    files = modules(package)
    return [
        f"{name} imports {target}: {why}"
        for name, file in files.items()
        if room(name)
        for target in sorted(imports(name, file, files))
        if (why := fault(room(name), room(target)))
    ]


def cycles(package):
    """Return the modules that import themselves by way of others; the package itself is exempt."""
    files = modules(package)
    graph = {name: imports(name, file, files) for name, file in files.items() if room(name)}

    def reached(name):
        seen, front = set(), set(graph[name])
        while front:
            seen |= front
            front = {target for near in front for target in graph.get(near, ())} - seen
        return seen

    return [name for name in graph if name in reached(name)]


def unstated(package):
    """Return the modules that have contents but no docstring or no ``__all__``."""
    wanting = []
    for name, file in modules(package).items():
        tree = ast.parse(file.read_text("utf-8"))
        targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
        stated = any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets)
        if tree.body and not (ast.get_docstring(tree) and stated):
            wanting.append(name)
    return wanting


def mentions(package, words):
    """Return the modules that contain a word, with the word."""
    return [
        (name, word)
        for name, file in modules(package).items()
        for word in words
        if word in file.read_text("utf-8")
    ]


def undocumented(namespace):
    """Return the exported classes and functions without a docstring of their own."""
    exported = {name: getattr(namespace, name) for name in getattr(namespace, "__all__", ())}
    return [
        name
        for name, value in exported.items()
        if inspect.isclass(value) or inspect.isfunction(value)
        if not value.__doc__ or value.__doc__.startswith(f"{name}(")
    ]


@pytest.fixture
def build(tmp_path):
    """Return a function that makes a package of files by their path."""

    def make(files):
        package = tmp_path / "house"
        for path, text in files.items():
            file = package / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        return package

    return make


def test_imports_go_to_the_left():
    assert upward(SOURCE) == []


def test_imports_have_no_cycle():
    assert cycles(SOURCE) == []


def test_modules_state_what_they_are():
    assert unstated(SOURCE) == []


def test_nothing_is_unpickled():
    assert mentions(SOURCE, FORBIDDEN) == []


def test_exports_are_documented():
    assert undocumented(harmonium) == []


def test_modules_export_what_they_have():
    for name in modules(SOURCE):
        if name.split(".")[-1] != "__main__":
            module = importlib.import_module(name)
            missing = [n for n in getattr(module, "__all__", ()) if not hasattr(module, n)]
            assert missing == [], name


GUARDED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .training import fit\n"


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("units.py", "from .models import RBM", "units imports house.models"),
        ("units.py", "from . import models", "units imports house.models"),
        ("units.py", "import house.models._rbm as rbm", "units imports house.models._rbm"),
        ("units.py", "def f():\n    from house.cli import main", "units imports house.cli"),
        ("learning/_pcd.py", "from ..training import fit", "_pcd imports house.training"),
        ("units.py", GUARDED, "units imports house.training"),
        ("errors.py", "from .kernels import philox", "errors imports house.kernels"),
        ("plots.py", "from .units import Spin", "plots stands apart"),
        ("metrics.py", "from .datasets import load", "metrics stands apart"),
        ("random.py", "from .datasets import load", "datasets is not to the left of random"),
        ("estimators.py", "from .cli import main", "cli is not to the left of estimators"),
        ("attic.py", "from .errors import invalid", "'attic' has no place in the order"),
        ("units.py", "from . import fit", "'the package itself' has no place in the order"),
    ],
)
def test_an_import_against_the_order_is_found(build, path, text, why):
    package = build(
        {
            "__init__.py": "from .training import fit\nfrom .models import RBM\n",
            "errors.py": "",
            "kernels/__init__.py": "",
            "models/__init__.py": "from ._rbm import RBM\n",
            "models/_rbm.py": "from ..errors import invalid\nimport torch\n",
            "training/__init__.py": "from ..models import RBM\nfrom ..datasets import load\n",
            "datasets.py": "from .random import Stream\nfrom .errors import invalid\n",
            "cli.py": "",
        }
    )
    assert upward(package) == []
    build({path: text})
    assert len(upward(package)) == 1
    assert why in upward(package)[0]


def test_a_cycle_is_found(build):
    package = build(
        {
            "__init__.py": "from .models import A",
            "models/__init__.py": "from ._a import A\nfrom ._b import B\n",
            "models/_a.py": "from ._b import B\n",
            "models/_b.py": "import numpy\n",
            "models/_c.py": "from . import _b\n",
        }
    )
    assert cycles(package) == []
    build({"models/_b.py": "def f():\n    from ._c import C\n"})
    assert cycles(package) == ["house.models._b", "house.models._c"]
    build({"models/_b.py": "from . import A\n", "models/_c.py": ""})
    assert cycles(package) == ["house.models", "house.models._a", "house.models._b"]


def test_a_module_that_states_nothing_is_found(build):
    package = build(
        {
            "__init__.py": "",
            "a.py": '"""A."""\n__all__ = []\n',
            "b.py": '"""B."""\n',
            "c.py": "__all__ = []\n",
        }
    )
    assert unstated(package) == ["house.b", "house.c"]


def test_a_forbidden_word_is_found(build):
    package = build({"a.py": "import torch\n", "b.py": "def f():\n    return torch.load(path)\n"})
    assert mentions(package, FORBIDDEN) == [("house.b", "torch.load(")]


def test_a_missing_docstring_is_found():
    class Told:
        """A class with a docstring."""

    class Heir(Told):
        pass

    names = {"Told": Told, "Heir": Heir, "silent": lambda: None, "data": 3}
    assert undocumented(SimpleNamespace(__all__=[*names], **names)) == ["Heir", "silent"]
