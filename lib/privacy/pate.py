"""Epsilon of PATE: noisy votes of teachers that were trained on disjoint parts of the private data.

Per query (Confident-GNMax, Papernot et al. 2018, Algorithm 1): if the largest count plus N(0,
selection_noise^2) reaches the threshold, the answer is the largest of all counts plus N(0,
result_noise^2) each, with new draws; otherwise the query gets no answer. Both noises are standard
deviations.

Adjacency: replace-one, with a partition by index. One record changes one teacher, so one vote of
every query may move: the largest count changes by at most 1, the vector of counts by sqrt(2) in L2.
Under a partition by a record's content, the old and the new record may belong to two teachers. That
doubles these sensitivities, and nothing here accounts for it.

Data-dependent costs (Theorem 6) are a NON-PRIVATE DIAGNOSTIC: they are computed from the votes that
the guarantee should protect, and hold for these votes against their neighbours, but not in the
other direction. Publish data-independent costs.
"""

import functools
import math
from typing import Any

from . import checks
from .dpsgd import dpsgd_epsilon

_ROWS = 256  # queries at a time, so that their arrays stay in cache
_ROUNDING = 8 * 2.0**-52


def pate_epsilon(votes: Any, *, threshold: float | None, selection_noise: float,
                 result_noise: float, delta: float, answered: Any = None,
                 data_dependent: bool = False) -> float:
    """Return the epsilon at `delta` of answering queries by Confident-GNMax, under replace-one.

    votes: counts [queries, classes]. threshold: in votes; None for no selection step, which ignores
    selection_noise. answered: mask [queries], or the number of answered queries; None for all.

    Data-independent: the exact Gaussian composition mu^2 = queries / selection_noise^2 + 2 answers
    / result_noise^2 (Dong et al. 2022, Corollary 3.3); every query pays for its selection, answered
    or not. With `answered=None` it is a guarantee. The number of answers is itself an outcome: with
    the realised number, the value is an odometer reading, and a guarantee only if that number was
    fixed as a limit beforehand.

    data_dependent: Renyi costs of Theorem 6 (Papernot et al. 2018) for both steps, orders 1.01 to
    500, converted once by Balle et al. 2020 (Theorem 21; as in Canonne et al. 2020, Proposition
    12). `answered=None`: the EXPECTED cost, with every answer charged by its probability, as the
    paper reports; this is a mean, not a bound, even for these votes. A number of answers is charged
    for the most expensive queries. The cost is loose if votes are flat, and can then exceed the
    exact data-independent value.

    Returns inf if a noise of 0 is used. Raises ValueError for a noise below 0, a threshold above
    the votes of every query, votes that are not whole and non-negative, an `answered` of a wrong
    shape or size, or a delta outside (0, 1).
    """
    votes = vote_counts(votes)
    noises = _noises(votes, threshold, selection_noise, result_noise)
    return _epsilon(votes, *noises, checks.delta(delta), _answers(answered, len(votes)),
                    data_dependent, as_released=False)


def released_pate_epsilon(votes: Any, *, threshold: float | None, selection_noise: float,
                          result_noise: float, delta: float, answered: Any = None,
                          data_dependent: bool = False) -> float:
    """Return the epsilon of the selection that Razmi et al. released: noise on every count, then
    the maximum.

    The noisy counts are a Gaussian mechanism of sensitivity sqrt(2), and the comparison is
    post-processing: twice the cost of the 2018 selection step. Arguments as for `pate_epsilon`.
    """
    votes = vote_counts(votes)
    noises = _noises(votes, threshold, selection_noise, result_noise)
    return _epsilon(votes, *noises, checks.delta(delta), _answers(answered, len(votes)),
                    data_dependent, as_released=True)


def released_selection_noise(selection_noise: float) -> float:
    """Return the 2018 selection noise with the data-independent cost of the released selection.

    It is selection_noise / sqrt(2). Do not use it for data-dependent costs or answer probabilities,
    which differ: see `released_pate_epsilon`.
    """
    return checks.number("selection_noise", selection_noise, low=0.0) / math.sqrt(2)


def answer_probability(votes: Any, threshold: float | None, selection_noise: float, *,
                       as_released: bool = False) -> Any:
    """Return the probability [queries] that a query is answered.

    Phi((max n - T) / s1). As released, with noise on every count, 1 - prod_j Phi((T - n_j) / s1),
    which is larger: for 200 votes spread evenly over 10 classes, T 150 and s1 120, the
    probabilities are 0.14 and 0.78. threshold None: 1. Without noise: 1 from the threshold on,
    else 0.
    """
    import numpy
    from scipy.special import ndtr

    votes = vote_counts(votes)
    threshold, noise, _ = _noises(votes, threshold, selection_noise, 1.0)
    if threshold is None:
        return numpy.ones(len(votes))
    top = votes.max(axis=1)
    if noise == 0:
        return (top >= threshold).astype(float)
    if as_released:
        return -numpy.expm1(_log_silent(votes, threshold, noise))
    return ndtr((top - threshold) / noise)


def gnmax_rdp(votes: Any, result_noise: float, orders: Any) -> Any:
    """Return the data-dependent Renyi cost [queries, orders] of answering each query (a non-private
    diagnostic).

    The smaller of order / result_noise^2 and Theorem 6 of Papernot et al. 2018, with their
    Proposition 7 for the probability of another answer than the most voted class and Proposition 10
    for the two orders of the theorem. It bounds D_order(outputs on these votes || outputs on any
    neighbour's). votes: counts [queries, classes]; orders above 1.
    """
    votes, orders = vote_counts(votes), _check_orders(orders)
    noise = checks.number("result_noise", result_noise, low=0.0)
    return _likely_rdp(_log_other_answer(votes, noise), noise, orders)


def selection_rdp(votes: Any, threshold: float | None, selection_noise: float, orders: Any, *,
                  as_released: bool = False) -> Any:
    """Return the data-dependent Renyi cost [queries, orders] of deciding which queries to answer.

    Like `gnmax_rdp`; the likely outcome is to answer or not, whichever has the higher probability.
    Data-independent part: order / (2 s1^2); as released order / s1^2.
    """
    import numpy

    votes, orders = vote_counts(votes), _check_orders(orders)
    threshold, noise, _ = _noises(votes, threshold, selection_noise, 1.0)
    if threshold is None:
        return numpy.zeros((len(votes), len(orders)))
    return _likely_rdp(_log_other_decision(votes, threshold, noise, as_released),
                       _on_vector(noise, as_released), orders)


def vote_counts(votes: Any, rows: str = "queries") -> Any:
    """`votes` as numpy float64 [rows, classes]; ValueError unless whole and non-negative."""
    import numpy

    if hasattr(votes, "detach"):
        votes = votes.detach().cpu().numpy()
    try:
        counts = numpy.asarray(votes, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"votes is a {type(votes).__name__}, not a table of numbers: expected "
                         f"counts [{rows}, classes]") from error
    if counts.ndim != 2 or counts.shape[1] == 0:
        raise ValueError(f"votes has shape {list(counts.shape)}: expected [{rows}, classes] with at"
                         " least one class")
    good = numpy.isfinite(counts) & (counts >= 0) & (counts == numpy.floor(counts))
    if not good.all():
        row, label = numpy.argwhere(~good)[0]
        raise ValueError(f"votes holds {counts[row, label]:g} (row {row}, class {label}): expected "
                         "whole numbers, 0 or more")
    return counts


def _noises(votes, threshold, selection_noise, result_noise):
    """Check and return (threshold, selection noise, result noise).

    The first two are None without a selection step.
    """
    result_noise = checks.number("result_noise", result_noise, low=0.0)
    if threshold is None:
        return None, None, result_noise
    most = float(votes.sum(axis=1).max()) if len(votes) else math.inf
    threshold = checks.number("threshold", threshold, low=0.0)
    if math.isinf(threshold) or threshold > most:
        raise ValueError(f"threshold is {threshold:g}: expected at most the number of votes of a "
                         f"query, {most:g}; lower it, or ask more teachers")
    return threshold, checks.number("selection_noise", selection_noise, low=0.0), result_noise


def _answers(answered, queries):
    """Check and return None, a mask [queries], or a number of queries."""
    import numpy

    if answered is None:
        return None
    if hasattr(answered, "detach"):
        answered = answered.detach().cpu().numpy()
    answered = numpy.asarray(answered)
    if answered.ndim == 0:
        number = checks.count("answered", answered.item())
        if number > queries:
            raise ValueError(
                f"answered is {number}: expected at most the number of queries, {queries}")
        return number
    if answered.dtype != bool or answered.shape != (queries,):
        raise ValueError(
            f"answered has shape {list(answered.shape)} of {answered.dtype}: expected a mask of"
            f" {queries} booleans, or the number of answered queries")
    return answered


def _check_orders(orders):
    import numpy

    orders = numpy.asarray(orders, dtype=float)
    if orders.ndim != 1 or not (numpy.isfinite(orders) & (orders > 1)).all():
        raise ValueError(
            f"orders is {orders.tolist()!r}: expected a list of finite numbers above 1")
    return orders


def _epsilon(votes, threshold, selection_noise, result_noise, delta, answered, data_dependent, *,
             as_released):
    import numpy

    selections = 0 if threshold is None else len(votes)
    answers = len(votes) if answered is None else int(numpy.sum(answered))
    if (selections and selection_noise == 0) or (answers and result_noise == 0):
        # Check this first: by Theorem 6, a noise-free answer that never changes would cost nothing.
        return math.inf
    if data_dependent:
        return _data_dependent_epsilon(votes, threshold, selection_noise, result_noise, delta,
                                       answered, as_released)
    mu = 0.0
    if selections:  # squared sensitivity 1 of the maximum, 2 of the whole vector
        mu = math.sqrt((2 if as_released else 1) * selections) / selection_noise
    if answers:
        mu = math.hypot(mu, math.sqrt(2 * answers) / result_noise)
    if mu == 0 or math.isinf(mu):
        return mu
    # One full batch is the Gaussian mechanism, for which `dpsgd_epsilon` uses the exact formula.
    return dpsgd_epsilon(1 / mu, 1.0, 1, delta)


def _data_dependent_epsilon(votes, threshold, selection_noise, result_noise, delta, answered,
                            as_released):
    import numpy
    from dp_accounting.rdp import rdp_privacy_accountant

    orders = _orders()
    total = numpy.zeros(len(orders))
    if threshold is not None:
        log_q = _log_other_decision(votes, threshold, selection_noise, as_released)
        total += _sum_rdp(log_q, _on_vector(selection_noise, as_released), orders,
                          numpy.ones(len(votes)))
    if answered is None:
        answered = answer_probability(votes, threshold, selection_noise, as_released=as_released)
    if numpy.any(answered):
        log_q = _log_other_answer(votes, result_noise)
        if numpy.ndim(answered) == 0:
            total += numpy.sort(_likely_rdp(log_q, result_noise, orders),
                                axis=0)[-answered:].sum(axis=0)
        else:
            total += _sum_rdp(log_q, result_noise, orders, numpy.asarray(answered, dtype=float))
    return float(rdp_privacy_accountant.compute_epsilon(orders, total, delta)[0])


@functools.cache
def _orders():
    import numpy

    return numpy.concatenate(
        [numpy.arange(101, 200) / 100,
         numpy.arange(4, 200) / 2,
         numpy.geomspace(100, 500, 100)])


def _on_vector(selection_noise, as_released):
    """The noise on the vector of counts (sensitivity sqrt(2)) with the cost of the selection step.
    """
    return selection_noise * (1.0 if as_released else math.sqrt(2))


def _log_other_answer(votes, noise):
    """log of a bound [queries] on the probability that GNMax does not answer with the most voted
    class.
    """
    import numpy
    from scipy.special import log_ndtr

    if noise == 0:
        return numpy.full(len(votes), -numpy.inf)
    top = votes.argmax(axis=1)[:, None]
    beaten = log_ndtr((votes - numpy.take_along_axis(votes, top, axis=1)) / (noise * math.sqrt(2)))
    numpy.put_along_axis(beaten, top, -numpy.inf, axis=1)
    classes = votes.shape[1]
    # The most voted class is the likeliest, so it has at least its even share.
    even = math.log1p(-1 / classes) if classes > 1 else -math.inf
    return numpy.minimum(numpy.logaddexp.reduce(beaten, axis=1), even)


def _log_other_decision(votes, threshold, noise, as_released):
    """log of a bound [queries] on the probability of the less likely decision (answer or not)."""
    import numpy
    from scipy.special import log_ndtr

    if noise == 0:
        return numpy.full(len(votes), -numpy.inf)
    if not as_released:
        return log_ndtr(-numpy.abs(votes.max(axis=1) - threshold) / noise)
    # Use the union bound for an answer, as 1 - prod would lose all digits for small probabilities.
    answer = numpy.logaddexp.reduce(log_ndtr((votes - threshold) / noise), axis=1)
    return numpy.minimum(answer, _log_silent(votes, threshold, noise))


def _log_silent(votes, threshold, noise):
    """log of the probability [queries] that no noisy count passes the threshold."""
    from scipy.special import log_ndtr

    return log_ndtr((threshold - votes) / noise).sum(axis=1)


def _sum_rdp(log_q, noise, orders, weights):
    """Weighted sum [orders] of the queries' costs; computes equal costs once."""
    import numpy

    log_q, inverse = numpy.unique(log_q, return_inverse=True)
    weights = numpy.bincount(inverse.reshape(-1), weights, minlength=len(log_q))
    paying = weights > 0  # 0 times an infinite cost would be nan
    log_q, weights = log_q[paying], weights[paying]
    chunks = [slice(start, start + _ROWS) for start in range(0, len(log_q), _ROWS)]
    return sum((weights[rows] @ _likely_rdp(log_q[rows], noise, orders) for rows in chunks),
               numpy.zeros(len(orders)))


def _likely_rdp(log_q, noise, orders):
    """Renyi cost [queries, orders] of a mechanism of cost order / noise^2 with one likely outcome.

    Papernot et al. 2018, Theorem 6: q bounds the probability of all other outcomes; its two orders
    are mu_2 = noise sqrt(log 1/q) and mu_1 = mu_2 + 1 (Proposition 10). If a condition of the
    theorem fails, or a number leaves the range of floats, the cost is order / noise^2, which always
    holds.
    """
    import numpy

    noise = numpy.float64(noise)
    log_q = numpy.reshape(log_q, (-1, 1))
    with numpy.errstate(all="ignore"):
        independent = orders / noise / noise + 0.0 * numpy.zeros_like(log_q)
        mu = noise * numpy.sqrt(-log_q)
        epsilon_1, epsilon_2 = (mu + 1) / noise / noise, mu / noise / noise
        # The bound increases with q up to this value.
        rising = (mu - 1) * epsilon_2 - 2 * mu * numpy.arctanh(1 / mu)
        holds = (mu > 1) & (orders < mu + 1) & (log_q <= rising)  # mu > 1 is also q e^epsilon_2 < 1
        log_moved = (log_q + epsilon_2) * (1 - 1 / mu)  # bounds log q on a neighbour's votes
        log_rest = numpy.log1p(-numpy.exp(log_q))
        likely = log_rest + (orders - 1) * (log_rest - numpy.log1p(-numpy.exp(log_moved)))
        other = log_q + (orders - 1) * (epsilon_1 - log_q / mu)
        both = numpy.logaddexp(likely, other)
        # With much noise the terms nearly cancel, so add what rounding may have taken away.
        terms = numpy.exp(log_q) + numpy.exp(log_moved) + numpy.exp(other - both)
        bound = (both + _ROUNDING * (1 - log_q) * orders * terms) / (orders - 1)
        # Comparisons with nan are False, so nan never replaces `independent`.
        return numpy.where(holds & (bound < independent), bound, independent)
