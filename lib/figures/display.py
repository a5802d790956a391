"""Put figures and tables into a notebook, with caption, description and data."""

import io
import math
import re
import sys
from html import escape
from typing import TYPE_CHECKING

from lib.figures.compact import compact_svg
from lib.figures.style import RC

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def show(figure: "Figure", *, id: str, caption: str, alt: str, data: "DataFrame | None" = None,
         finding: str = "") -> None:
    """Display a figure as SVG with its data as CSV, and close it.

    id: anchor in the report, unique among all notebooks. caption: what the figure shows, first
    the finding. alt: the same for someone who cannot see it. data: the DataFrame behind it (None
    only for pictures). finding: a plain sentence computed from the rows at hand; the page prints
    it under the figure. Outside a notebook nothing is displayed. The bytes depend on the figure
    alone. Raises ValueError for an unusable id or an empty caption or alt.
    """
    _check(id, caption=caption, alt=alt)
    if _interactive():
        bundle = {"image/svg+xml": svg(figure, alt=alt), "text/plain": alt}
        if data is not None:
            bundle["text/csv"] = _csv(data)
        details = {"id": id, "caption": caption, "alt": alt}
        _display(bundle, {"figure": details | ({"finding": finding} if finding else {})})
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)


EMPTY = "not measured"  # in place of a table's lines


def table(frame: "DataFrame", *, id: str, caption: str, digits: int = 3,
          missing: str = "not measured") -> None:
    """Display a DataFrame as a captioned table, `digits` significant digits, with its CSV.

    A number that is not there reads `missing` ("–" where there is nothing to measure), an infinite
    one "∞". An index other than 0, 1, 2... becomes the first column.
    """
    _check(id, caption=caption)
    frame = _with_index(frame)
    if _interactive():
        cells = frame.map(lambda value: format_cell(value, digits=digits, missing=missing))
        bundle = {"text/html": _html(frame, cells, caption), "text/csv": _csv(frame),
                  "text/plain": f"{caption}\n\n{cells.to_string(index=False)}" if len(cells)
                  else f"{caption}\n\n{EMPTY}"}
        _display(bundle, {"table": {"id": id, "caption": caption}})


def svg(figure: "Figure", *, alt: str) -> str:
    """The figure as an SVG element, labelled with `alt`, the same bytes each time."""
    from matplotlib import rc_context

    drawn = io.StringIO()
    with rc_context({key: RC[key] for key in RC if key.startswith(("svg.", "font.", "path."))}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return compact_svg(drawn.getvalue()).replace(
        "<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)


def format_cell(value: object, *, digits: int = 3, missing: str = "not measured") -> str:
    """A value as text: significant digits without exponents where a reader expects none."""
    import pandas as pd

    if isinstance(value, bool) or type(value).__name__ == "bool_":
        return "yes" if value else "no"
    if pd.isna(value):
        return missing
    if not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    # The exponent of the rounded number: 99.96 to three digits is 100, not 100.0.
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2]) if value else digits - 1
    return f"{value:.{max(digits - 1 - exponent, 0)}f}".replace("-", "−")


def _check(id, **texts):
    if not _ID.fullmatch(str(id)):
        raise ValueError(f"id {id!r}: expected letters, digits, '-', '_' or '.', as in '11-noise'")
    for name, text in texts.items():
        if not str(text).strip():
            raise ValueError(f"{name} of {id!r} is empty: say what a reader should see")


def _interactive():
    shell = sys.modules.get("IPython")
    return shell is not None and shell.get_ipython() is not None


def _display(bundle, metadata):
    from IPython.display import display

    display(bundle, metadata=metadata, raw=True)


def _with_index(frame):
    import pandas as pd

    return frame if isinstance(frame.index, pd.RangeIndex) else frame.reset_index()


def _csv(frame):
    return _with_index(frame).to_csv(index=False, float_format="%0.6g", lineterminator="\n")


def _html(frame, cells, caption):
    import pandas as pd

    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame.columns]
    classes = [' class="number"' if number else "" for number in numeric]
    head = "".join(f'<th scope="col"{look}>{escape(str(column))}</th>'
                   for column, look in zip(frame.columns, classes, strict=True))
    body = []
    for row in cells.itertuples(index=False, name=None):
        first, *rest = zip(row, classes, strict=True)
        body.append(f'<tr><th scope="row"{first[1]}>{escape(first[0])}</th>'
                    + "".join(f"<td{look}>{escape(text)}</td>" for text, look in rest) + "</tr>")
    if not body:
        body.append(f'<tr><td colspan="{len(classes)}">{EMPTY}</td></tr>')
    return (f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table>")
