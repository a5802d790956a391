"""Figures from tidy tables, in one style; `show` and `table` put them into a notebook.

Every plot function takes a tidy DataFrame (a row a run, shares between 0 and 1), returns a
Figure, and draws what is there: missing rows are NaN, and an empty panel says "not measured".
Means are over attack instances, intervals are t intervals at 95%.
"""

from lib.figures.axes import not_measured
from lib.figures.bands import bands
from lib.figures.bars import parts_bars
from lib.figures.boxes import boxes
from lib.figures.comparisons import contrasts
from lib.figures.curves import panels, singular_point, sweep
from lib.figures.decision_maps import decision_maps
from lib.figures.display import show, svg, table
from lib.figures.families import by_setting, collapsed, dots, envelopes
from lib.figures.forest import paired_differences
from lib.figures.headline import matched
from lib.figures.histograms import histograms
from lib.figures.log_lines import log_lines
from lib.figures.loss_curves import losses
from lib.figures.pictures import image_grid
from lib.figures.proportions import proportions
from lib.figures.radius_curves import certificates
from lib.figures.reaches import reaches
from lib.figures.scatter import scatter
from lib.figures.sketches import shaping
from lib.figures.style import SERIES, series_styles, style
from lib.figures.tradeoff import front_text, pareto, tradeoff

__all__ = ["SERIES", "bands", "boxes", "by_setting", "certificates", "collapsed", "contrasts",
           "decision_maps", "dots",
           "envelopes", "front_text", "histograms", "image_grid", "log_lines", "losses", "matched",
           "not_measured", "paired_differences", "panels", "pareto", "parts_bars", "proportions",
           "reaches", "scatter", "series_styles", "shaping", "show", "singular_point", "style",
           "svg", "sweep", "table", "tradeoff"]
