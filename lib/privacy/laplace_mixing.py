"""Epsilon at a delta of mixed images with Laplace noise: independent draws, and mixup as it is run.

Two mechanisms, for records that lie within an l1 distance `diameter` of each other:

- Theorem 2 of Borgnia et al. draws each mix anew, `width` records without replacement.
- Mixup, as code runs it, permutes a batch: every record enters `width` mixes in each epoch. There
  is no amplification by sampling. Whatever the weights and the permutations, a record's weights in
  an epoch add up to 1, so an epoch is a Laplace mechanism of l1 sensitivity `diameter`.

One dimension is the worst case: Laplace distributions at a distance t dominate every pair of
products whose distances add up to t. Shift one coordinate after the other: if T(P, Q) >= f and
T(Q, R) >= g then T(P, R) >= g(1 - f) (trade-off functions; Dong et al. 2022, section 2.5). With
the distribution function F of one coordinate, f(a) = F(F^-1(1 - a) - t1) and g alike for t2,
because thresholds are the best tests of a log-concave density, so g(1 - f(a)) =
F(F^-1(1 - a) - t1 - t2): that of the whole shift in one coordinate.

Privacy loss distributions are pessimistic (connect the dots) and composed by dp_accounting.
"""

import functools
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from . import checks
from .instahide import instahide_epsilon, log_mean
from .mixture import INTERVAL, fine_interval, rounding

_GRID = 200_000  # points of one release's loss distribution
_COMPOSED = 100_000  # points after composition
_DETAIL = 20  # least intervals in the loss of one mix
_LABEL_CHANGE = 2.0  # l1 distance of two one-hot labels
_FARTHEST = 600.0  # distance in one draw; past it e^loss overflows, and epsilon promises nothing


def drawn_epsilon(n: int, draws: int, width: int, scale: float, delta: float, *,
                  adjacency: str = "add-remove") -> float:
    """Return the epsilon at `delta` of theorem 2's mechanism, images alone.

    Never above the theorem's own, which is returned for noise under 1 / (600 width), too.
    Each of `draws` mixes has `width` of n records, drawn anew without replacement; scale: of the
    Laplace noise for records of unit l1 diameter. "add-remove": one record less, mixes as many
    (the draws are public). One mix is then (1 - r) Q + r P against Q, r = width / n, P and Q at a
    distance of 1 / (width scale), as with Poisson sampling. "replace-one": the profile
    r delta_Laplace(ln(1 + (e^epsilon - 1) / r)) for epsilon >= 0, on both sides (Balle et al. 2018,
    sampling without replacement).
    """
    checks.choice("adjacency", adjacency, checks.ADJACENCIES)
    delta = checks.delta(delta)
    pure = instahide_epsilon(n, draws, width, scale)
    rate, steps = width / n, int(draws)
    used = 1.0 if rate == 1 else -math.expm1(steps * math.log1p(-rate))
    spare = delta - rounding(steps, delta)
    if steps == 0 or delta >= used:
        return 0.0  # the total variation is at most the chance that a record is used at all
    if spare <= 0 or 1 / (width * scale) > _FARTHEST:
        return pure
    sides = ("replaced",) if adjacency == "replace-one" else ("removed", "added")
    losses = (_drawn_loss(rate, 1 / (width * scale), steps, side) for side in sides)
    return min(pure, max(_epsilon(loss, spare) for loss in losses))


def mixup_epsilon(width: int, scale: float, epochs: int, delta: float, *, n: int, batch_size: int,
                  diameter: float, label_scale: float) -> float:
    """Return the epsilon at `delta` (0: pure) of mixup with equal weights, as it is run.

    In each of `epochs` passes n records are shuffled into batches, each place of a batch gets the
    mean of its record and those that `width` - 1 permutations bring there, and Laplace noise of
    `scale` on every pixel (in the unit of `diameter`). label_scale: of Laplace noise on every entry
    of the mixed labels, drawn for each mix. Mixed labels without noise (0) give inf, whatever the
    noise on the images; math.inf is images alone, labels withheld.

    Replace-one adjacency; with the largest l1 norm of an image as `diameter` it is zero-out for
    images alone. Under add-remove there is no guarantee, because a pass has as many mixes as
    records. The permutations count as known: without that no better bound is proven for width > 1.
    Two of a record's places may coincide, which is counted with its probability. For weights that
    are not equal the value of width 1 is a bound.
    """
    width = checks.count("width", width, low=1)
    epochs, n = checks.count("epochs", epochs), checks.count("n", n, low=1)
    batch_size = min(checks.count("batch_size", batch_size, low=1), n)
    delta = checks.number("delta", delta, low=0.0, high=1.0, open_high=True)
    distance = _ratio("diameter", diameter, "scale", scale)
    distance += _ratio("label change", _LABEL_CHANGE, "label_scale", label_scale)
    pure = 0.0 if epochs == 0 else epochs * distance
    spare = delta - rounding(width * epochs, delta)
    if pure == 0 or math.isinf(pure) or spare <= 0:
        return pure
    loss = _mixup_loss(width, distance, epochs, n, batch_size)
    return min(pure, _epsilon(loss, spare))


def occupancies(width: int, places: int) -> dict[tuple[int, ...], float]:
    """How `width` independent uniform places coincide: {counts, largest first: probability}.

    (1, 1, 1): all differ; (2, 1): two are the same.
    """
    found = {}
    for counts in _partitions(width):
        if len(counts) <= places:
            ways = math.factorial(width)
            for count in counts:
                ways //= math.factorial(count)
            for same in Counter(counts).values():
                ways //= math.factorial(same)
            found[counts] = ways * math.perm(places, len(counts)) / places**width
    return found


def laplace_delta(epsilons: Any, distance: float) -> Any:
    """delta(epsilon) of Laplace distributions of scale 1 at a distance, for any real epsilon."""
    import numpy

    epsilons = numpy.asarray(epsilons, dtype=float)
    inside = -numpy.expm1(numpy.clip((epsilons - distance) / 2, -distance, 0.0))
    return numpy.where(epsilons < -distance, -numpy.expm1(numpy.minimum(epsilons, 0.0)), inside)


def _epsilon(loss: Any, delta: float) -> float:
    import numpy

    with numpy.errstate(over="ignore"):  # of a ratio that is only compared with others
        return float(loss.get_epsilon_for_delta(delta))


def _ratio(name: str, size: float, by: str, scale: float) -> float:
    """A distance in units of the noise; inf without noise."""
    size = checks.number(name, size, low=0.0, open_high=True, high=math.inf)
    scale = checks.number(by, scale, low=0.0)
    return size / scale if scale else math.inf * (size > 0) if size else 0.0


def _partitions(total: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """The ways to write a number as a sum, largest part first."""
    if total == 0:
        yield ()
    for part in range(min(total, largest or total), 0, -1):
        for rest in _partitions(total - part, part):
            yield (part, *rest)


# ---------------------------------------------------------------- loss distributions

@functools.lru_cache(maxsize=64)
def _drawn_loss(rate: float, distance: float, steps: int, side: str) -> Any:
    """Loss distribution of `steps` draws, composed; side: which record differs."""
    low, high = log_mean(rate, -distance), log_mean(rate, distance)
    ends = {"removed": (low, high), "added": (-high, -low), "replaced": (-high, high)}[side]
    spread = rate * min(distance, 1.0)
    deviation = rate * math.exp(min(distance, 700.0) / 2)
    interval = fine_interval(spread, deviation, ends[1] - ends[0], steps, grid=_GRID)
    interval = max(interval, (ends[1] - ends[0]) / _GRID)
    loss = _from_profile(functools.partial(_DRAWN[side], rate=rate, distance=distance),
                         ends, interval)
    return loss.self_compose(steps)


def _removed(epsilons: Any, *, rate: float, distance: float) -> Any:
    """delta of (1 - r) Q + r P against Q: r delta_Laplace where the loss is above ln(1 - r)."""
    import numpy

    above = numpy.expm1(epsilons) + rate  # r e^(loss of P against Q)
    trivial = -numpy.expm1(numpy.minimum(epsilons, 0.0))
    inner = numpy.log(numpy.maximum(above, 1e-300) / rate)
    return numpy.where(above > 0, rate * laplace_delta(inner, distance), trivial)


def _mirrored(epsilons: Any, profile: Any) -> Any:
    """delta of Q against P from that of P against Q: 1 - e^eps + e^eps delta(-eps)."""
    import numpy

    return -numpy.expm1(epsilons) + numpy.exp(epsilons) * profile(-epsilons)


def _added(epsilons: Any, *, rate: float, distance: float) -> Any:
    return _mirrored(epsilons, functools.partial(_removed, rate=rate, distance=distance))


def _replaced(epsilons: Any, *, rate: float, distance: float) -> Any:
    import numpy

    side = functools.partial(_removed, rate=rate, distance=distance)
    return numpy.where(epsilons >= 0, side(numpy.maximum(epsilons, 0.0)),
                       _mirrored(numpy.minimum(epsilons, 0.0), side))


_DRAWN = {"removed": _removed, "added": _added, "replaced": _replaced}


@functools.lru_cache(maxsize=64)
def _mixup_loss(width: int, distance: float, epochs: int, n: int, batch_size: int) -> Any:
    """Loss distribution of all passes: an epoch's mixture over how a record's places coincide."""
    interval = max(min(INTERVAL, distance / width / _DETAIL), 2 * distance * epochs / _COMPOSED)
    total, losses = 0.0, []
    for counts, weight in _coincidences(width, n, batch_size).items():
        parts = (_laplace_loss(count * distance / width, interval).self_compose(times)
                 for count, times in Counter(counts).items())
        loss = functools.reduce(lambda one, other: one.compose(other), parts)
        total += weight
        losses = [losses[0].compute_mixture(loss, 1 - weight / total) if losses else loss]
    return losses[0].self_compose(epochs)


def _coincidences(width: int, n: int, batch_size: int) -> dict[tuple[int, ...], float]:
    """`occupancies` of a record's batch, which is the last, smaller one with its share."""
    last = n % batch_size
    shares = {batch_size: 1 - last / n} | ({last: last / n} if last else {})
    found: dict[tuple[int, ...], float] = {}
    for size, share in shares.items():
        for counts, chance in occupancies(width, size).items():
            found[counts] = found.get(counts, 0.0) + share * chance
    return found


def _laplace_loss(distance: float, interval: float) -> Any:
    return _from_profile(functools.partial(laplace_delta, distance=distance),
                         (-distance, distance), interval)


def _from_profile(profile: Any, ends: tuple[float, float], interval: float) -> Any:
    """The pessimistic loss distribution of a profile, for losses between `ends`."""
    import numpy
    from dp_accounting.pld import pld_pmf

    first, last = math.floor(ends[0] / interval), math.ceil(ends[1] / interval)
    epsilons = interval * numpy.arange(first, last + 1)
    trivial = -numpy.expm1(numpy.minimum(epsilons, 0.0))  # the event "anything"
    deltas = numpy.clip(numpy.maximum(profile(epsilons), trivial), 0.0, 1.0)
    falling = numpy.maximum.accumulate(deltas[::-1])[::-1]  # rounding must not make it increase
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(
        interval, first, last, falling).to_dense_pmf()
