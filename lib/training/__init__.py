"""The trainer: settings, and many models of one shape trained at once.

`Training` holds the settings of a training as plain values. `fit` trains one model per `Member`
under a common `Schedule`, and returns an `Ensemble`, which predicts.
"""

from lib.training.batches import as_input, gather, generator, member_batches
from lib.training.ensemble import Ensemble
from lib.training.fit import Step, fit, products, slack
from lib.training.modules import flatten, initialise, unflatten, unflatten_buffers
from lib.training.norms import Quantile
from lib.training.optimizers import Rule
from lib.training.overlays import Overlaid, Overlay
from lib.training.schedule import Member, Schedule, check
from lib.training.settings import Training
from lib.training.workers import spread

__all__ = [
    "Ensemble",
    "Member",
    "Overlaid",
    "Overlay",
    "Quantile",
    "Rule",
    "Schedule",
    "Step",
    "Training",
    "as_input",
    "check",
    "fit",
    "flatten",
    "gather",
    "generator",
    "initialise",
    "member_batches",
    "products",
    "slack",
    "spread",
    "unflatten",
    "unflatten_buffers",
]

VERSION = 1
