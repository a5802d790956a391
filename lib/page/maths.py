"""TeX formulas as inline SVG, drawn by matplotlib: the page loads no MathJax."""

import io
import re
from functools import cache

from lib.page.outputs import inline_svg

# TeX that mathtext does not know, as what it knows
_SYNONYMS = {r"\ge": r"\geq", r"\le": r"\leq", r"\ne": r"\neq", r"\tfrac": r"\frac",
             r"\lVert": r"\|", r"\rVert": r"\|", r"\textstyle": "", r"\!": ""}
_COMMAND = re.compile(r"\\(?:[A-Za-z]+|!)")
_INK = "#010203"  # a colour that nothing else uses, replaced by the page's text colour


def formula_html(tex: str, *, prefix: str, display: bool = False) -> str | None:
    """The formula as an SVG whose label is its TeX, or None if mathtext cannot draw it.

    prefix: of the ids inside it; they have to differ from all others of the page.
    """
    source = " ".join(tex.split())
    drawn = _draw(source)
    if drawn is None:
        return None
    svg = inline_svg(drawn, label=source, prefix=prefix).replace(_INK, "currentColor")
    return f'<span class="formula {"display" if display else "inline"}">{svg}</span>'


@cache
def _draw(source):
    from matplotlib import rc_context
    from matplotlib.mathtext import math_to_image

    drawn = io.BytesIO()
    source = _COMMAND.sub(lambda found: _SYNONYMS.get(found[0], found[0]), source)
    try:
        with rc_context({"svg.fonttype": "path", "svg.hashsalt": "formula", "font.size": 12,
                         "savefig.transparent": True, "mathtext.fontset": "dejavusans"}):
            math_to_image(f"${source}$", drawn, format="svg", color=_INK)
    except ValueError:
        return None
    return drawn.getvalue().decode()
