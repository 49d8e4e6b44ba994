"""The settings of the documentation; build it with ``sphinx-build -W docs docs/_build``."""

import re
from importlib.metadata import version as installed
from typing import Any

from sphinx.application import Sphinx

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


def escape_shapes(app: Sphinx, *about: Any) -> None:
    """Keep the star of a shape such as (*, width) from being read as markup."""
    lines = about[-1]
    lines[:] = [line.replace("shape (*", r"shape (\*") for line in lines]


def plain_aliases(app: Sphinx, *about: Any) -> tuple[str | None, str | None]:
    """Show the alias of a type by its name."""
    signature, returned = about[-2:]
    return signature and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", signature), returned


def setup(app: Sphinx) -> None:
    """Connect the hooks above."""
    app.connect("autodoc-process-docstring", escape_shapes)
    app.connect("autodoc-process-signature", plain_aliases)
