"""The page in HTML: one file, no scripts, nothing fetched from elsewhere."""

from __future__ import annotations

__all__ = ["page"]

from html import escape
from typing import Any

from ._facts import (
    commands,
    diagnostics,
    main_evaluation,
    numbers,
    settings,
    summary,
    title,
    verdict,
)
from ._measures import measures_lead, measures_table
from ._networks import beside_table, growth_table, network_tiles
from ._opened import OpenRun
from ._pictures import Picture
from ._sequences import contact_table
from ._words import Table, number, short

_STYLE = """
:root { color-scheme: light; --ink: #22262b; --soft: #667079; --line: #e3e6e9; --paper: #fff;
  --good: #0b6e4f; --bad: #a63a00; --none: #667079; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f6; color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
header p { color: var(--soft); margin: 0; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 0 0 14px; }
h3 { font-size: 0.95rem; margin: 0 0 8px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 22px 24px; margin-top: 20px; }
section p { margin: 0 0 10px; max-width: 46em; }
section p:last-child { margin-bottom: 0; }
.verdict { margin: 20px 0 0; padding: 12px 18px; border-radius: 10px; color: #fff; font-weight: 600; }
.good { background: var(--good); } .bad { background: var(--bad); } .none { background: var(--none); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px;
  margin-top: 20px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 18px; }
.tile b { display: block; font-size: 1.6rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 0.85rem; }
.pictures { display: grid; gap: 22px;
  grid-template-columns: repeat(auto-fit, minmax(min(280px, 100%), 1fr)); }
.wide { grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); }
.wide figure:first-child:nth-last-child(odd) { grid-column: 1 / -1; }
.single { grid-template-columns: minmax(0, 900px); }
figure { margin: 0; } figure img { display: block; width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: 0.85rem; line-height: 1.4; margin-top: 8px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
.figures th:nth-child(n+2), .figures td:nth-child(n+2) { text-align: right; }
.figures td { white-space: nowrap; }
.settings td:last-child { overflow-wrap: anywhere; }
pre { margin: 0; padding: 14px 16px; background: #f4f5f6; border-radius: 8px;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font: 0.85rem/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
summary { cursor: pointer; font-size: 1.2rem; font-weight: 700; }
details table { margin-top: 14px; }
footer { color: var(--soft); font-size: 0.85rem; margin-top: 24px; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""

_SECTIONS = {
    "learning": ("Learning", "wide"),
    "samples": ("Samples", ""),
    "sequences": ("Sequences", ""),
    "progress": ("Over the epochs", ""),
    "inpainting": ("Inpainting", "single"),
    "filters": ("Filters", "single"),
}


def page(run: OpenRun, pictures: list[Picture]) -> str:
    """Return the whole page.

    Arguments:
        run: The run.
        pictures: Its pictures.
    """
    name = escape(title(run))
    where = escape(f"{run.folder.path.resolve().name} · {run.data.source}")
    mark, line = verdict(run)
    parts = [
        f"<header><h1>{name}</h1><p>{where}</p></header>",
        f'<p class="verdict {mark}">{escape(line)}</p>',
        _tiles(run),
        _section("Summary", "".join(f"<p>{escape(text)}</p>" for text in summary(run))),
        *(_gallery(key, pictures) for key in _SECTIONS),
        _contacts(run),
        _section("Numbers", _numbers(run)),
        _growth(run),
        _beside(run),
        _measures(run),
        _section("Diagnostics", _table(diagnostics(run))),
        _repeat(run),
        _folded("Settings and versions", _table(settings(run), "settings")),
    ]
    body = "\n".join(part for part in parts if part)
    version = escape(str(run.config.get("environment", {}).get("harmonium", "")))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n"
        f"<footer>Harmonium {version}. Likelihoods are in nats per row.</footer>\n"
        "</main>\n</body>\n</html>\n"
    )


def _tiles(run: OpenRun) -> str:
    tiles = network_tiles(run) or _likelihood_tiles(main_evaluation(run))
    cells = [
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>'
        for value, label in tiles
    ]
    return f'<div class="tiles">{"".join(cells)}</div>' if cells else ""


def _likelihood_tiles(found: dict[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    exact = found["method"] == "exact" and not found.get("importance_samples")
    error = "" if exact else f" ± {short(found['standard_error'])}"
    bound = found.get("bound")
    name = "log-likelihood" if bound is None else "estimate"
    tiles = {
        f"bound on the {found['split']} log-likelihood": bound,
        f"{found['split']} {name}{error}": found["mean"],
        "lower end": found["lower"],
        "upper end": found["upper"],
        "independent units": found.get("baseline_log_likelihood"),
    }
    return [(number(value, 2), label) for label, value in tiles.items() if value is not None]


def _growth(run: OpenRun) -> str:
    table = growth_table(main_evaluation(run))
    if table is None:
        return ""
    lead = "Of the network cut after each of its RBMs, with a log Z of its own. Labels are left out."
    return _section("Growth of the bound", f"<p>{lead}</p>{_table(table, 'figures')}")


def _beside(run: OpenRun) -> str:
    table = beside_table(run)
    if table is None:
        return ""
    lead = "The same layers, trained by the same settings from random weights. Validation chose the epochs."
    return _section("Beside it", f"<p>{lead}</p>{_table(table, 'figures')}")


def _measures(run: OpenRun) -> str:
    table = measures_table(run)
    if table is None:
        return ""
    return _section("Measures of samples", f"<p>{escape(measures_lead(run))}</p>{_table(table, 'figures')}")


def _contacts(run: OpenRun) -> str:
    table = contact_table(run)
    if table is None:
        return ""
    lead = "The strongest effective couplings of sites (from 0) at least 5 apart, average-product corrected."
    return _section("Pairs", f"<p>{lead}</p>{_table(table, 'figures')}")


def _gallery(key: str, pictures: list[Picture]) -> str:
    heading, style = _SECTIONS[key]
    own = [picture for picture in pictures if picture.section == key]
    if not own:
        return ""
    figures = [_figure(picture, picture.title != heading) for picture in own]
    return _section(heading, f'<div class="pictures {style}">{"".join(figures)}</div>')


def _figure(picture: Picture, titled: bool) -> str:
    title, caption = escape(picture.title), escape(picture.caption)
    head = f"<h3>{title}</h3>" if titled else ""
    return (
        f'<figure>{head}<img src="{picture.source}" alt="{title}: {caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _numbers(run: OpenRun) -> str:
    table = numbers(run)
    if not table.rows:
        command = escape(f"harmonium evaluate {run.folder.path}")
        return f"<p>There are none yet. This estimates them:</p><pre>{command}</pre>"
    return _table(table, "figures")


def _repeat(run: OpenRun) -> str:
    lines = commands(run)
    if not lines:
        return ""
    text = escape("\n".join(lines))
    threads = run.config.get("environment", {}).get("threads", "unknown")
    lead = f"<p>Bit for bit, given the same versions and the same number of threads ({threads}):</p>"
    return _section("The same run, again", f"{lead}<pre>{text}</pre>")


def _table(table: Table, style: str = "") -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{escape(heading)}</h2>{content}</section>"


def _folded(heading: str, content: str) -> str:
    return f"<section><details><summary>{escape(heading)}</summary>{content}</details></section>"
