"""The verdicts of one notebook as lines of text: what its verdict cell prints."""

import textwrap
from typing import TYPE_CHECKING

from lib.verdicts.claim import Frames
from lib.verdicts.evaluation import evaluate
from lib.verdicts.listing import table

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTH = 98  # columns
INDENT = " " * 6


def show(notebook: str, rows: "DataFrame | Frames") -> None:
    """Judge the claims of a notebook on its rows, and print a few lines a claim.

    `rows`: the notebook's rows, or rows by notebook as `evaluate` takes them.
    """
    print("\n".join(lines(notebook, rows)))


def lines(notebook: str, rows: "DataFrame | Frames") -> list[str]:
    """What `show` prints, of at most 98 columns each."""
    import pandas as pd

    frames = {notebook: rows} if isinstance(rows, pd.DataFrame) else rows
    judged = table(evaluate(frames))
    own = judged[judged["notebook"].eq(notebook)]
    if own.empty:
        raise ValueError(f"notebook {notebook!r}: no claim names it")
    return [line for _, one in own.iterrows() for line in _claim(one)]


def _claim(one) -> list[str]:
    """The verdicts, the number with its reason, and what a reader must know before them."""
    text = [f"{one['id']:<6}{_words(one)}"]
    if one["measured"]:
        number = " ".join(part for part in (one["measured"], one["interval"]) if part)
        text += _wrapped(f"{number}, n {one['n']}")
    text += _wrapped(one["reason"]) if one["reason"] else []
    if one["as first frozen"]:
        text += _wrapped(f"as first frozen: {one['as first frozen']}")
    return text + (_wrapped(one["marks"]) if one["marks"] else [])


def _words(one) -> str:
    direction, size = one["direction"], one["size"]
    if "–" in (direction, size):
        return size if direction == "–" else direction
    return f"direction {direction}, size {size}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
