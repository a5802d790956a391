"""The headline figures of the notebooks on Turner's thesis."""

from lib.papers.turner import dirty_figures, heads_figures

HEADLINES = {"30_dirty_label": dirty_figures.headline, "34_dp_defence": heads_figures.headline}
