"""How columns of a table are to be treated, in words.

A word is a kind of column (``bernoulli``, ``categorical``, ``gaussian``), a transform of numbers
(``standardise``, ``log-standardise``, ``quantile``), ``drop``, or ``levels:small|large``, which lists the
levels in their order. ``+unseen`` after one, or ``unseen`` alone, gives a level to all that is none of the
others. The name ``*`` stands for all columns of numbers, and takes a transform.
"""

from __future__ import annotations

__all__ = ["understand"]

from collections.abc import Mapping
from typing import Any

from ..errors import ArgumentTypeError, choose, invalid, show
from ._column import ALL, COLUMNS, MAPS

DROP, LEVELS, UNSEEN = "drop", "levels:", "unseen"


def understand(columns: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the arguments of :meth:`Schema.infer` that words by column stand for.

    Raises:
        ArgumentTypeError: They are no texts by name.
        ArgumentError: A word is unknown, or words do not go together.
    """
    columns = {} if columns is None else columns
    if not isinstance(columns, Mapping) or not all(isinstance(word, str) for word in columns.values()):
        raise ArgumentTypeError(f"columns: got {show(columns)}, expected words by name, as age='quantile'")
    rest = dict(columns)
    transforms = {ALL: choose(f"columns: of {ALL!r}", rest.pop(ALL, MAPS[0]), MAPS)}
    kinds: dict[str, str] = {}
    levels: dict[str, list[str]] = {}
    unseen, drop = [], []
    for name, text in rest.items():
        word = text.removesuffix(f"+{UNSEEN}") or UNSEEN
        if word != text or word == UNSEEN:
            unseen.append(name)
        if word.startswith(LEVELS):
            levels[name] = [level.strip() for level in word.removeprefix(LEVELS).split("|")]
        elif word in COLUMNS:
            kinds[name] = word
        elif word in MAPS:
            kinds[name], transforms[name] = "gaussian", word
        elif word == DROP:
            drop.append(name)
        elif word != UNSEEN:
            words = (*COLUMNS, *MAPS, DROP, UNSEEN, "levels:a|b")
            choose(f"columns: of {name!r}", word, words)
            raise invalid(f"columns: of {name!r}", word, "the levels themselves, as levels:small|large")
        if name in unseen and (word == DROP or kinds.get(name) in ("gaussian", "bernoulli")):
            raise invalid(f"columns: of {name!r}", text, "a column of categories where some are unseen")
    return {"kinds": kinds, "transforms": transforms, "levels": levels, "unseen": unseen, "drop": drop}
