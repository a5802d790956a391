"""Figures from tidy tables, in one style; `show` and `table` put them into a notebook.

Every plot function takes a tidy DataFrame (a row a run, shares between 0 and 1), returns a
Figure, and draws what is there: missing rows are NaN, and an empty panel says "not measured".
Means are over attack instances, intervals are t intervals at 95%.
"""

from lib.plots.bars import parts_bars
from lib.plots.boxes import boxes
from lib.plots.certificates import certificates
from lib.plots.curves import panels, singular_point, sweep
from lib.plots.display import show, table
from lib.plots.forest import paired_differences
from lib.plots.headline import matched
from lib.plots.losses import losses
from lib.plots.pictures import image_grid
from lib.plots.style import SERIES, series_styles, style
from lib.plots.tradeoff import front_text, pareto, tradeoff

__all__ = ["SERIES", "boxes", "certificates", "front_text", "image_grid", "losses", "matched",
           "paired_differences", "panels", "pareto", "parts_bars", "series_styles", "show",
           "singular_point", "style", "sweep", "table", "tradeoff"]
