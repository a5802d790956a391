"""The headline figures of the notebooks on Turner's thesis."""

from lib.papers.turner import heads_figures

HEADLINES = {"34_dp_defence": heads_figures.headline}
