"""Accounting, bounds, and the guarantee printed beside a result."""

from .audit import audit_lower_bound
from .bounds import (
    attack_cost_bound,
    attack_success_cap,
    dpsgd_attack_success_cap,
    group_privacy,
)
from .dpsgd import dpsgd_epsilon, dpsgd_noise_multiplier, shuffled_epsilon
from .guarantee import Guarantee
from .instahide import instahide_epsilon
from .laplace_mixing import drawn_epsilon, mixup_epsilon
from .pate import (
    answer_probability,
    gnmax_rdp,
    pate_epsilon,
    released_pate_epsilon,
    released_selection_noise,
)
from .summary import epsilon_table, measured_caps

VERSION = 1  # raise it when any epsilon changes: rows hold epsilons and noise calibrated to them

__all__ = [
    "Guarantee",
    "answer_probability",
    "attack_cost_bound",
    "attack_success_cap",
    "audit_lower_bound",
    "dpsgd_attack_success_cap",
    "dpsgd_epsilon",
    "dpsgd_noise_multiplier",
    "drawn_epsilon",
    "epsilon_table",
    "gnmax_rdp",
    "group_privacy",
    "instahide_epsilon",
    "measured_caps",
    "mixup_epsilon",
    "pate_epsilon",
    "released_pate_epsilon",
    "released_selection_noise",
    "shuffled_epsilon",
]
