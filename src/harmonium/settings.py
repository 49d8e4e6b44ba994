"""Settings that are checked before any work, and whose errors name the argument."""

from __future__ import annotations

__all__ = ["Settings"]

from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from .errors import ArgumentError, HarmoniumError, show


class Settings(BaseModel):
    """Abstract group of named, checked settings.

    Raises:
        ArgumentError: A name is unknown or a value out of range; one line for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            known = list(type(self).model_fields)
            details: dict[str, list[Any]] = {}
            for detail in error.errors():
                details.setdefault(str(detail["loc"][0]), []).append(detail)
            lines = [_explain(name, *found, known=known) for name, found in details.items()]
            raise ArgumentError("; ".join(lines)) from None

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse True and False where a number is due: they would pass for 1 and 0."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)):
            raise ValueError("no truth value")
        return value


def _explain(name: str, first: Any, *others: Any, known: list[str]) -> str:
    """Say in one line what is wrong with a setting; the parts of a union each have a word."""
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{name}: unknown, expected one of {', '.join(known)}{hint}"
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, HarmoniumError):
        return str(cause)
    expected = [_expected(detail["msg"]) for detail in (first, *others)]
    return f"{name}: got {show(first['input'])}, expected {' or '.join(expected)}"


def _expected(message: str) -> str:
    if message.startswith("Input is not a valid path"):
        return "the path of a file"
    return message.removeprefix("Value error, ").removeprefix("Input should be ")
