"""The settings of the documentation; build it with ``sphinx-build -W docs docs/_build``."""

import re
from importlib.metadata import version as installed
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from harmonium.settings import Settings

project = "Harmonium"
author = "the Harmonium developers"
copyright = f"2026, {author}"
release = version = installed("harmonium")
language = "en-GB"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Values": "Values"}
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "Harmonium"
html_copy_source = False

COLON = "\N{RATIO}"


def hide_colons(app: Sphinx, what: str, *about: Any) -> None:
    """Keep what stands before a colon in an attribute's docstring from being read as its type."""
    if what in ("attribute", "data"):
        about[-1][:] = [line.replace(":", COLON) for line in about[-1]]


def finish(app: Sphinx, what: str, *about: Any) -> None:
    """Bring the colons back, and keep the star of a shape such as (*, width) from being markup."""
    lines = about[-1]
    lines[:] = [line.replace(COLON, ":").replace("shape (*", r"shape (\*") for line in lines]


def explain_settings(app: Sphinx, what: str, name: str, item: Any, *about: Any) -> None:
    """List the settings of a group with their meanings, where its docstring has none."""
    lines = about[-1]
    fields = item.model_fields if _is_settings(item) else {}
    if not any(line.startswith(":param") for line in lines):
        lines += [f":param {key}: {field.description}" for key, field in fields.items()]


def plain_signature(
    app: Sphinx, what: str, name: str, item: Any, *about: Any
) -> tuple[str | None, str | None]:
    """Show the alias of a type by its name, and settings without their ranges."""
    signature, returned = about[-2:]
    if _is_settings(item):
        signature = f"({', '.join(['*', *map(_argument, item.model_fields.items())])})"
    return signature and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature), returned


def _is_settings(item: Any) -> bool:
    return isinstance(item, type) and issubclass(item, Settings) and bool(item.model_fields)


def _argument(entry: tuple[str, Any]) -> str:
    name, field = entry
    default = field.get_default(call_default_factory=True)
    return f"{name}: {stringify_annotation(field.annotation, 'smart')} = {default!r}"


def setup(app: Sphinx) -> None:
    """Connect the hooks above."""
    app.connect("autodoc-process-docstring", hide_colons, priority=100)
    app.connect("autodoc-process-docstring", finish)
    app.connect("autodoc-process-docstring", explain_settings)
    app.connect("autodoc-process-signature", plain_signature)
