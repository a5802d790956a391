"""What a differential privacy guarantee says about an attack with k poisoned records.

k counts adjacent steps. An image poisoned in place is a removal and an insertion: 2 under
add-remove, 1 under replace-one. A rate is a probability over the randomness of training,
so every cap bounds the MEAN attack success of models trained this way, not one model's.
"""

import math

from . import checks
from .mixture import ROUNDING, group_loss

_LEAST_NOISE = 0.01
_VACUOUS = 0.9999


def group_privacy(epsilon: float, delta: float, k: int) -> tuple[float, float]:
    """Return (epsilon_k, delta_k) for two data sets that are k adjacent steps apart.

    (k epsilon, delta (e^(k epsilon) - 1) / (e^epsilon - 1)), the k-fold iteration of the
    definition (Vadhan 2017, Lemma 2.2, kept tight); delta_k is cut at 1. k = 0: (0, 0).
    """
    epsilon = checks.number("epsilon", epsilon, low=0.0)
    delta = checks.number("delta", delta, low=0.0, high=1.0)
    k = checks.count("k", k)
    if k == 0:
        return 0.0, 0.0
    if k == 1 or delta == 0 or epsilon == 0:
        return k * epsilon, min(1.0, k * delta)
    if math.isinf(epsilon):
        return epsilon, 1.0
    # In logarithms: e^(k epsilon) overflows long after delta_k has passed 1.
    growth = (k - 1) * epsilon + math.log(math.expm1(-k * epsilon) / math.expm1(-epsilon))
    return k * epsilon, math.exp(min(0.0, math.log(delta) + growth))


def attack_success_cap(clean_rate: float, epsilon: float, delta: float, k: int) -> float:
    """Return the largest attack success that (epsilon, delta) allows k adjacent steps.

    The one-step bound min(1, e^eps p + delta, 1 - e^-eps (1 - p - delta)), iterated k times
    from p = clean_rate (Ma et al. 2019, Theorem 1 as a statement on rates, with both sides).
    clean_rate: the TRIGGERED rate of models trained by the same algorithm without the
    poison, an upper confidence bound. epsilon inf: no guarantee, so 1.0 for k > 0.
    """
    rate = checks.number("clean_rate", clean_rate, low=0.0, high=1.0)
    epsilon = checks.number("epsilon", epsilon, low=0.0)
    delta = checks.number("delta", delta, low=0.0, high=1.0)
    for _ in range(checks.count("k", k)):
        further = _one_step(rate, epsilon, delta)
        if further == rate:  # a fixed point
            break
        rate = further
    return rate


def _one_step(rate, epsilon, delta):
    if math.isinf(epsilon):
        return 1.0
    grown = rate * math.exp(min(epsilon, 700.0)) + delta
    left = 1 - math.exp(-epsilon) * (1 - rate - delta)
    return max(rate, min(1.0, grown, left))  # max: rounding must not lower the rate


def attack_cost_bound(cost: float, epsilon: float, delta: float, k: int, *, largest: float,
                      sign: str) -> float:
    """Return the least expected cost that (epsilon, delta) leaves an attacker with k records.

    cost: expected, without the attack, of a cost function that never leaves [0, largest] (sign
    "non-negative") or [-largest, 0] ("non-positive"); the attacker wants it small. With
    c = largest delta / (e^epsilon - 1) the bounds are e^(-k epsilon) (cost + c) - c and
    e^(k epsilon) (cost - c) + c (Ma et al. 2019, Theorem 1), cut at 0 and at -largest. Borgnia et
    al. print the second one (their equation 5) with e^(-l epsilon) and + c, which no training
    without poison meets. epsilon inf: no guarantee.
    """
    checks.choice("sign", sign, ("non-negative", "non-positive"))
    largest = checks.number("largest", largest, low=0.0, open_low=True)
    low, high = (0.0, largest) if sign == "non-negative" else (-largest, 0.0)
    cost = checks.number("cost", cost, low=low, high=high)
    of_group, delta_of_group = group_privacy(epsilon, delta, k)
    if math.isinf(of_group) or delta_of_group == 1:
        return low
    # c (e^(k epsilon) - 1) is largest delta_k, which is cut at 1: no overflow, no division by 0
    if sign == "non-negative":
        return max(low, math.exp(-of_group) * (cost - largest * delta_of_group))
    grown = cost * math.exp(min(of_group, 700.0)) if cost else 0.0
    return max(low, grown - largest * delta_of_group)


def dpsgd_attack_success_cap(
    clean_rate: float,
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    k: int,
    *,
    adjacency: str = "add-remove",
) -> float:
    """Return the largest attack success that k poisoned records can reach against DP-SGD.

    The minimum over epsilon of min(1, e^eps p + delta_k(eps), 1 - e^-eps (1 - p -
    delta_k(eps))), where delta_k is the whole privacy profile of the k-record group, which
    gives far less than k times one epsilon. Poisson sampling; clean_rate as in
    `attack_success_cap`.

    Loss distributions and their sources: `lib.privacy.mixture`. adjacency "add-remove": k
    insertions or k removals, the larger profile of both in both directions. Splitting k
    between the two never gave a larger profile (observed in the tests, not a theorem).
    "replace-one": k records replaced in place, k against k, which needs no such observation and
    is never above the cap of 2k under add-remove. Without noise, or with noise under 0.01, the
    cap follows only from the chance that no poisoned record is ever sampled.
    """
    rate = checks.number("clean_rate", clean_rate, low=0.0, high=1.0)
    noise_multiplier = checks.noise_multiplier(noise_multiplier)
    sample_rate = checks.sample_rate(sample_rate)
    steps, k = checks.count("steps", steps), checks.count("k", k)
    checks.choice("adjacency", adjacency, checks.ADJACENCIES)
    if k == 0 or steps == 0 or math.isinf(noise_multiplier):
        return rate
    # If no poisoned record is ever sampled, both worlds train the same model.
    touched = 1.0 if sample_rate == 1 else -math.expm1(k * steps * math.log1p(-sample_rate))
    ceiling = min(1.0, rate + touched)
    if noise_multiplier < _LEAST_NOISE:
        return ceiling
    if rate == 0:  # with noise, an event of probability 0 in one world has it in the other too
        return 0.0
    mu = k * (2 if adjacency == "replace-one" else 1)
    if sample_rate == 1:
        return _gaussian_cap(rate, mu * math.sqrt(steps) / noise_multiplier)
    spread = math.sqrt(steps * math.expm1(min(noise_multiplier**-2, 700.0)))
    if min(touched, _gaussian_cap(rate, mu * sample_rate * spread)) > _VACUOUS:
        return ceiling  # sound, and avoids large grids for groups whose cap is near 1 anyway
    sides = ((k, k),) if adjacency == "replace-one" else ((k, 0), (0, k))
    profile = _Profile([group_loss(noise_multiplier, sample_rate, steps, *s) for s in sides])
    return max(rate, min(ceiling, profile.cap(rate) + steps * ROUNDING))


def _gaussian_cap(rate, mu):
    """The exact cap of a Gaussian mechanism with a distance of mu (Dong et al. 2022)."""
    from scipy.special import ndtr, ndtri

    return float(ndtr(ndtri(rate) + mu))


class _Profile:
    """delta as a function of epsilon: the largest over several loss distributions."""

    def __init__(self, losses):
        self._losses = losses

    def delta(self, epsilon: float) -> float:
        return max(float(loss.get_delta_for_epsilon(float(epsilon))) for loss in self._losses)

    def cap(self, rate: float) -> float:
        """The smaller minimum of both bounds; each is unimodal, as delta is convex in e^epsilon."""
        grown = _least(lambda e: rate * math.exp(e) + self.delta(e), -math.log(rate))
        left = _least(lambda e: 1 - math.exp(-e) * (1 - rate - self.delta(e)), 30.0)
        return min(grown, left)


def _least(function, upper):
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        function, bounds=(0.0, max(upper, 1e-3)), method="bounded", options={"xatol": 1e-5}
    )
    return min(float(found.fun), function(0.0))
