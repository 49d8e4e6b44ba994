"""What the benchmarks share: the machine in words, and tables that are printed and kept."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch


def machine() -> str:
    """Return the processor, its cores and the versions, on one line."""
    name = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    threads = torch.get_num_threads()
    return f"{name}, {threads} threads, torch {torch.__version__}, Python {platform.python_version()}"


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def keep(path: str | None, title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table, and write it with the machine's name to ``path`` (and as JSON beside it)."""
    text = f"# {title}\n\n{machine()}\n\n{table(rows)}\n"
    print(text)
    if path is not None:
        Path(path).write_text(text)
        Path(path).with_suffix(".json").write_text(json.dumps(rows, indent=2) + "\n")


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
