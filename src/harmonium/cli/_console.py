"""What the commands print: results on the standard output, progress on the standard error."""

from __future__ import annotations

__all__ = [
    "Meter",
    "note",
    "noted_warnings",
    "plain",
    "print_commands",
    "print_json",
    "print_table",
    "quiet_steps",
    "say",
]

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import HarmoniumWarning

_PAUSE = 2.0


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(plain(content), indent=2, allow_nan=False, default=str))


def say(text: str = "") -> None:
    """Print a line as it is, however long."""
    Console(highlight=False).print(text, markup=False, soft_wrap=True)


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> None:
    """Print a table.

    Arguments:
        title: A line above it.
        head: The columns' names; without names there is no head.
        rows: The cells of each row.
        right: How many of the last columns are numbers, which stand on the right.
    """
    if title:
        say(title)
    table = Table(box=box.SIMPLE_HEAD, show_header=any(head))
    for i, name in enumerate(head):
        number = i >= len(head) - right
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=number)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def print_commands(lead: str, commands: Sequence[str]) -> None:
    """Print commands that can be pasted."""
    say(lead)
    for command in commands:
        say(f"  {command}")


def note(text: str) -> None:
    """Print a line of progress on the standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def noted_warnings() -> Iterator[None]:
    """Print the library's warnings as lines on the standard error."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", HarmoniumWarning)
        yield
    for warning in found:
        if issubclass(warning.category, HarmoniumWarning):
            note(f"warning: {warning.message}")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


class Meter:
    """Creates a meter of progress: a bar on a terminal, a line now and then elsewhere.

    Arguments:
        label: What goes on.
        total: How many steps there are.
        done: How many are done.
    """

    def __init__(self, label: str, total: int, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.told = -math.inf

    def __enter__(self) -> Meter:
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            self.bar = Progress(
                *columns, TimeRemainingColumn(), TextColumn("{task.fields[text]}"), console=self.console
            )
            self.bar.add_task(self.label, total=self.total, completed=self.done, text="")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def step(self, done: int, text: str = "") -> None:
        """Show that ``done`` steps are done."""
        self.done = done
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=done, text=text)
        elif time.monotonic() - self.told > _PAUSE or done == self.total:
            self.told = time.monotonic()
            note(f"{self.label} {done}/{self.total}  {text}".rstrip())


@contextmanager
def quiet_steps() -> Iterator[Callable[[str], None]]:
    """Yield what tells of steps of unknown length: a spinner on a terminal, lines elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield note
        return
    with console.status("starting") as status:
        yield lambda text: status.update(text)
