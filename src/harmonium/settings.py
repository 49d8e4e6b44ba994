"""Settings that are checked before any work, and whose errors name the argument."""

from __future__ import annotations

__all__ = ["Settings"]

from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ArgumentError


class Settings(BaseModel):
    """Abstract group of named, checked settings.

    Raises:
        ArgumentError: A name is unknown or a value out of range; one line for each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            known = list(type(self).model_fields)
            lines = [_explain(detail, known) for detail in error.errors()]
            raise ArgumentError("; ".join(lines)) from None


def _explain(detail: Any, known: list[str]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{name}: unknown, expected one of {', '.join(known)}{hint}"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{name}: got {detail['input']!r}, expected {message}"
