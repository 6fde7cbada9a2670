"""A validation as one page of HTML that needs nothing else: tables, and pictures in it."""

import base64
from collections.abc import Iterable, Mapping
from html import escape
from io import BytesIO
from typing import Any

import boost_histogram as bh
import numpy as np

from facility.analysis.results.comparison import DRAWN
from facility.analysis.results.overlay import overlay
from facility.table import Table

BINS = 50
DOTS = 110
"""Dots an inch of the pictures."""
STYLE = """
body { font: 16px/1.5 sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; } .wide { overflow-x: auto; }
th, td { border-bottom: 1px solid #ccc; padding: .2rem .8rem; text-align: left; }
td { font-variant-numeric: tabular-nums; }
img { max-width: 100%; }
.good, .bad { border-left: .4rem solid; padding-left: .8rem; font-weight: bold; }
.good { border-color: #2e7d32; } .bad { border-color: #c62828; }
"""


def page(title: str, good: bool, verdict: str, sections: list[tuple[str, str]]) -> str:
    """Write the page.

    Parameters
    ----------
    verdict
        How it ended, in one sentence.
    sections
        Headings, and what stands under each as HTML.
    """
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<style>{STYLE}</style></head><body><main><h1>{escape(title)}</h1>",
            f'<p class="{"good" if good else "bad"}">{escape(verdict)}</p>',
            *(f"<h2>{escape(heading)}</h2>\n{content}" for heading, content in sections),
            "</main></body></html>\n",
        ]
    )


def column_histograms(
    names: Iterable[str], values: Mapping[str, tuple[list[Any], list[Any]]]
) -> dict[str, tuple[Any, Any]]:
    """Fill histograms of the first columns of numbers, with the same bins for both."""
    filled: dict[str, tuple[Any, Any]] = {}
    for name in names:
        pair = [
            np.concatenate([np.asarray(part, float) for part in side] or [np.empty(0)])
            for side in values.get(name, ((), ()))
        ]
        pair = [side[np.isfinite(side)] for side in pair]
        both = np.concatenate(pair)
        if not len(both) or len(filled) == DRAWN:
            continue
        low, high = float(both.min()), float(both.max())
        # The largest value belongs to the last bin, also where all are the same.
        high = np.nextafter(high, np.inf) if high > low else low + max(1.0, abs(low))
        if np.isfinite(high - low):
            axis = bh.axis.Regular(BINS, low, high)
            filled[name] = (bh.Histogram(axis).fill(pair[0]), bh.Histogram(axis).fill(pair[1]))
    return filled


def wide(table: Table) -> str:
    """Write a table that may be wider than the page."""
    return f'<div class="wide" tabindex="0">{table._repr_html_()}</div>'


def items(sentences: Iterable[str]) -> str:
    """Write sentences as a list."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in sentences)}</ul>"


def picture(what: str, pools: tuple[str, str], pairs: list[tuple[str, Any, Any]]) -> str:
    """Draw histograms of both, with their ratios."""
    content = BytesIO()
    overlay(pairs, pools).savefig(content, format="png", dpi=DOTS)
    encoded = base64.b64encode(content.getvalue()).decode()
    names = ", ".join(name for name, _, _ in pairs)
    text = escape(f"{what} from {pools[0]} and {pools[1]}: {names}", quote=True)
    return f'<img alt="{text}" src="data:image/png;base64,{encoded}">'
