"""Epsilon of DP-SGD, and the noise that an epsilon requires.

One step samples every record with probability `sample_rate` (Poisson), clips each gradient
to C, sums, and adds Gaussian noise of standard deviation `noise_multiplier` * C to the SUM
(Abadi et al. 2016, Algorithm 1). Under add-remove adjacency the sum changes by up to C, under
replace-one by up to 2C, with the same noise. Fixed or shuffled batches get no amplification by
sampling: use `shuffled_epsilon` for them.

Accountants: "pld" composes privacy loss distributions (dp_accounting, pessimistic rounding,
interval 1e-4 or finer) and is the reference. "rdp" and "prv" are Opacus's, for comparison, and
support add-remove only. z 1, q 0.01 and 1000 steps take 0.4 s on one core.
"""

import functools
import math
import warnings

from . import checks
from .mixture import INTERVAL, fine_interval, group_loss, loss_spread, moments_epsilon, rounding

_GRID = 300_000  # points of one step's loss distribution
_COMPOSED = 12_000_000  # points after composition
_LARGE = 100.0  # an epsilon that promises nothing
_LEAST_PLD_NOISE = 1e-3  # with less, a single step has an epsilon of 1e5 or more
_MOST_PRV_EPSILON = 250.0  # above, PRV's grid needs many GiB and loses its precision
_TOLERANCE = 1e-3  # of epsilon
_CLOSED = 1e-6  # of log noise: in a bracket this narrow, epsilon jumps
_MOST_NOISE = {"pld": 1e9, "rdp": 1e7, "prv": 1e7}  # with more, Opacus's sums cancel
_STEP = 0.01  # of log noise
_NO_EPSILON = 1e-12  # treated as 0
_MOST_EPSILON = 1000.0


def dpsgd_epsilon(
    noise_multiplier: float,
    sample_rate: float,
    steps: int,
    delta: float,
    *,
    adjacency: str = "add-remove",
    accountant: str = "pld",
) -> float:
    """Return the epsilon at `delta` of `steps` steps of DP-SGD with Poisson sampling.

    sample_rate: probability in (0, 1]; 1 is full batch, for which "pld" uses the exact Gaussian
    formula. No noise gives inf, no step gives 0.0. "pld" also gives 0.0, for any noise, if delta
    is at least 1 - (1 - q)^T, the chance that a record is used at all.

    The value is an upper bound, which is tight under "pld". Compared with the exact inversion of
    the moment generating function, it is within 0.2% for noise multipliers from 1, epsilons from
    1e-3 and deltas from 1e-12 times the steps; within 1% for epsilons of 1e-6; and looser, by up
    to 10%, if records are hardly ever used and delta is near the chance of it. For smaller
    deltas the rounding of floats may lose 4e-16 of delta per step, which is charged (1.5% of
    epsilon at 1,000 steps and 1e-12). If that uses up delta (from 2,300 steps at 1e-12), the
    moments of the loss bound epsilon, 4 to 7% above the truth (in one case 30%, at a sample rate
    of 1e-5).

    The interval is 1e-4. It is finer for narrow losses (rate over noise under 1e-3), so that one
    step's loss spreads over ten intervals, and wider if the grid would not fit (noise under
    0.35). Under a noise multiplier of 1e-3 the bound is that of full batches. "prv" raises
    RuntimeError if it cannot answer. "rdp" is loose at small epsilons (Opacus's orders end at
    63).
    Source: Koskela et al. 2020 and Doroshenko et al. 2022 (PLD), Mironov et al. 2019 (RDP),
    Gopi et al. 2021 (PRV).
    """
    noise_multiplier = checks.noise_multiplier(noise_multiplier)
    sample_rate = checks.sample_rate(sample_rate)
    steps = checks.count("steps", steps)
    delta = checks.delta(delta)
    _check_accountant(adjacency, accountant)
    if steps == 0 or math.isinf(noise_multiplier):
        return 0.0
    if noise_multiplier == 0:
        return math.inf
    return _epsilon(noise_multiplier, sample_rate, steps, delta, adjacency, accountant)


def dpsgd_noise_multiplier(
    epsilon: float,
    sample_rate: float,
    steps: int,
    delta: float,
    *,
    adjacency: str = "add-remove",
    accountant: str = "pld",
) -> float:
    """Return a noise multiplier z with epsilon - 1e-3 <= epsilon(z) <= epsilon.

    epsilon: in (0, 1000], or inf, which needs no noise (0.0). epsilon(z) itself was computed and
    never exceeds epsilon; for epsilons below 0.1 it is within 1%. Only the lower end may be
    missed: at epsilons of hundreds (noise under 0.06: within the accountant's interval), and if
    the accountant's value jumps (deltas near the rounding of floats). Then z is the least noise
    found that keeps epsilon. Raises ValueError if delta is at least 1 - (1 - sample_rate)^steps,
    the chance that a record is used at all, because any noise would then pass without protecting
    anybody; and if the accountant cannot certify so small an epsilon at this delta with any
    noise.
    """
    epsilon = checks.number("epsilon", epsilon, low=0.0, open_low=True)
    sample_rate = checks.sample_rate(sample_rate)
    steps = checks.count("steps", steps, low=1)
    delta = checks.delta(delta)
    _check_accountant(adjacency, accountant)
    if math.isinf(epsilon):
        return 0.0
    if epsilon > _MOST_EPSILON:
        raise ValueError(
            f"epsilon is {epsilon!r}: expected at most {_MOST_EPSILON:g} or inf; "
            "a larger one guarantees nothing, so set the noise multiplier instead")
    chance = _chance_of_use(sample_rate, steps)
    if delta >= chance:
        raise ValueError(
            f"delta is {delta!r}: expected less than {chance:.3g}, the chance that a record is "
            f"used at all (sample_rate {sample_rate:g}, {steps} steps); choose a smaller delta, "
            "since this one allows any noise and protects no record that is used")
    return _noise_multiplier(epsilon, sample_rate, steps, delta, adjacency, accountant)


def shuffled_epsilon(noise_multiplier: float, epochs: int, delta: float, *,
                     adjacency: str = "zero-out") -> float:
    """Return the epsilon at `delta` if every record is used once an epoch, in any order.

    The bound for shuffled or fixed batches: no amplification, a Gaussian mechanism with
    noise z / sqrt(epochs), exact formula (Balle and Wang 2018, Theorem 8). adjacency:
    "zero-out" (a record's gradient is set to zero; removing a record would shift all later
    batches, which this bound does not cover) or "replace-one" (sensitivity 2C). Example: z 5.6,
    50 epochs and delta 1e-5 give 5.7476; Poisson sampling gives 0.4502.
    """
    noise_multiplier = checks.noise_multiplier(noise_multiplier)
    epochs = checks.count("epochs", epochs)
    delta = checks.delta(delta)
    checks.choice("adjacency", adjacency, ("zero-out", "replace-one"))
    if epochs == 0 or math.isinf(noise_multiplier):
        return 0.0
    if noise_multiplier == 0:
        return math.inf
    return _gaussian_epsilon(noise_multiplier, epochs, delta, adjacency)


def sensitivity(adjacency: str) -> int:
    """The change of one step's sum in clipping norms: 2 under replace-one, else 1."""
    return 2 if adjacency == "replace-one" else 1


def _check_accountant(adjacency, accountant):
    checks.choice("adjacency", adjacency, checks.ADJACENCIES)
    checks.choice("accountant", accountant, checks.ACCOUNTANTS)
    # Doubling the sensitivity is sound for full batches only. With sampling, the removed and the
    # added record share one draw, which Opacus's accountants do not model.
    if accountant != "pld" and adjacency != "add-remove":
        raise ValueError(
            f"accountant is {accountant!r} with adjacency {adjacency!r}: it is defined for "
            "'add-remove' only; use accountant='pld'")


@functools.lru_cache(maxsize=4096)
def _epsilon(noise_multiplier, sample_rate, steps, delta, adjacency, accountant):
    setting = (noise_multiplier, sample_rate, steps, delta)
    if accountant == "rdp":
        return _rdp_epsilon(*setting)
    if accountant == "prv":
        return _prv_epsilon(*setting)
    return _pld_epsilon(*setting, adjacency)


def _pld_epsilon(noise_multiplier, sample_rate, steps, delta, adjacency, composed=None):
    # By joint convexity full batches are a bound, because sampling only mixes in identical pairs.
    full_batch = _gaussian_epsilon(noise_multiplier, steps, delta, adjacency)
    if sample_rate == 1.0:
        return full_batch
    if delta >= _chance_of_use(sample_rate, steps):
        return 0.0  # the total variation is at most this chance, whatever the noise
    if noise_multiplier < _LEAST_PLD_NOISE:
        return full_batch
    spare = delta - rounding(steps, delta)
    setting = (noise_multiplier, sample_rate, steps)
    if spare < delta:
        by_moments = max(moments_epsilon(*setting, *side, delta) for side in _sides(adjacency))
        full_batch = min(full_batch, by_moments)
    if spare <= 0:
        return full_batch
    found = min((composed or _composed_epsilon)(*setting, spare, adjacency), full_batch)
    if found > _LARGE and adjacency == "add-remove":
        # The composition can overflow there, and its bound is then far above the truth.
        found = min(found, _rdp_epsilon(*setting, delta))
    return found


def _composed_epsilon(noise_multiplier, sample_rate, steps, delta, adjacency):
    from dp_accounting.pld import privacy_loss_distribution as pld

    interval = _interval(noise_multiplier, sample_rate, steps, adjacency)
    one = _one_step(noise_multiplier, sample_rate, adjacency, interval)
    # Composed as dp-accounting's PLDAccountant composes them, to the last bit.
    found = pld.identity(interval).compose(one.self_compose(steps))
    return float(found.get_epsilon_for_delta(delta))


@functools.lru_cache(maxsize=8)
def _one_step(noise_multiplier, sample_rate, adjacency, interval):
    """The loss distribution of one step, most of the work for a path of many numbers of steps."""
    import dp_accounting
    from dp_accounting.pld import privacy_loss_distribution as pld

    relation = dp_accounting.NeighboringRelation
    return pld.from_gaussian_mechanism(
        noise_multiplier, value_discretization_interval=interval, sampling_prob=sample_rate,
        neighboring_relation=(relation.ADD_OR_REMOVE_ONE if adjacency == "add-remove"
                              else relation.REPLACE_ONE))


def _chance_of_use(sample_rate, steps):
    """Probability that a record is sampled in at least one step."""
    return 1.0 if sample_rate == 1 else -math.expm1(steps * math.log1p(-sample_rate))


def _interval(noise_multiplier, sample_rate, steps, adjacency):
    """The grid's interval: 1e-4, wider if the grid would not fit, finer for narrow losses."""
    moved = sensitivity(adjacency)
    shift = moved / noise_multiplier
    one_step = shift * shift / 2 + 10 * shift
    composed = one_step + 10 * shift * shift * math.sqrt(steps * sample_rate)
    coarse = max(INTERVAL, one_step / _GRID, composed / _COMPOSED)
    if coarse > INTERVAL:
        return coarse
    single = (1 / noise_multiplier + 20) / noise_multiplier / 2  # unsampled, add-remove
    up, down = (math.log1p(sample_rate * math.expm1(end)) for end in (single, -single))
    width = moved * (up - down)
    spread, deviation = loss_spread(noise_multiplier, sample_rate, moved)
    return fine_interval(spread, deviation, width, steps, grid=_GRID)


def _gaussian_epsilon(noise_multiplier, times, delta, adjacency):
    import dp_accounting

    standard_deviation = noise_multiplier / (sensitivity(adjacency) * math.sqrt(times))
    if standard_deviation < 1e-6:  # the exact formula's root search overflows; this is a bound too
        shift = 1 / standard_deviation
        return shift * (shift / 2 + math.sqrt(2 * math.log(1 / delta)))
    return float(dp_accounting.get_epsilon_gaussian(standard_deviation, delta))


def _rdp_epsilon(noise_multiplier, sample_rate, steps, delta):
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that its largest order is best: loose, but valid
        return float(accountant.get_epsilon(delta))


def _prv_epsilon(noise_multiplier, sample_rate, steps, delta):
    import numpy
    from opacus.accountants import PRVAccountant

    where = f"noise_multiplier {noise_multiplier:g}, sample_rate {sample_rate:g}, steps {steps}"
    refusal = f"the PRV accountant cannot answer for {where}; use accountant='pld'"
    if not _rdp_epsilon(noise_multiplier, sample_rate, steps, delta) <= _MOST_PRV_EPSILON:
        raise RuntimeError(refusal)
    accountant = PRVAccountant()
    accountant.history = [(noise_multiplier, sample_rate, steps)]
    try:
        with warnings.catch_warnings(), numpy.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            epsilon = float(accountant.get_epsilon(delta))
    except (ArithmeticError, MemoryError, RuntimeError, ValueError) as error:
        raise RuntimeError(refusal) from error
    if not math.isfinite(epsilon):
        raise RuntimeError(refusal)
    return max(epsilon, 0.0)


@functools.lru_cache(maxsize=4096)
def _noise_multiplier(epsilon, sample_rate, steps, delta, adjacency, accountant):
    def evaluate(noise_multiplier: float) -> float:
        return _epsilon(noise_multiplier, sample_rate, steps, delta, adjacency, accountant)

    def nearly(noise_multiplier: float) -> float:
        setting = (noise_multiplier, sample_rate, steps, delta, adjacency)
        return _pld_epsilon(*setting, composed=_fast_epsilon)

    tolerance, least = min(_TOLERANCE, epsilon / 100), _STEP
    guess = _guess(epsilon, sample_rate, steps, delta, adjacency)
    if accountant == "pld" and sample_rate < 1:
        # Faster code for the same distribution finds the noise; the library's accountant checks it.
        low = epsilon - max(tolerance, 1e-5 * epsilon)
        most = _MOST_NOISE[accountant]
        guess = _search(nearly, guess, low=low, high=epsilon, trials=15, most=most) or guess
        least = 1e-6
        interval = _interval(guess, sample_rate, steps, adjacency)
        tolerance = interval if interval > _TOLERANCE else tolerance
    found = _search(
        evaluate, guess, low=epsilon - tolerance, high=epsilon, least=least,
        trials=20 if least < _STEP else 60, most=_MOST_NOISE[accountant],
    )  # fmt: skip
    if found is None:
        raise ValueError(
            f"epsilon is {epsilon!r}: accountant {accountant!r} reaches no such value at delta "
            f"{delta:g} with sample_rate {sample_rate:g} and {steps} steps"
            + ("; raise epsilon or delta" if accountant == "pld" else "; use accountant='pld'"))
    return found


def _fast_epsilon(noise_multiplier, sample_rate, steps, delta, adjacency):
    """Nearly the value of `_composed_epsilon`, several times faster."""
    setting = (noise_multiplier, sample_rate, steps)
    losses = (group_loss(*setting, *side) for side in _sides(adjacency))
    return max(loss.get_epsilon_for_delta(delta) for loss in losses)


def _sides(adjacency):
    """The pairs of numbers of records that `group_loss` compares for one adjacent step."""
    return ((1, 1),) if adjacency == "replace-one" else ((1, 0), (0, 1))


def _guess(epsilon, sample_rate, steps, delta, adjacency):
    """The noise multiplier by the central limit (Bu et al. 2020, Corollary 5.4), as a start."""
    import dp_accounting

    mu = 1 / dp_accounting.get_sigma_gaussian(epsilon, delta)
    ratio = mu / (sensitivity(adjacency) * sample_rate * math.sqrt(steps))
    return max(1 / math.sqrt(math.log1p(ratio * ratio)), 2 * _LEAST_PLD_NOISE * (sample_rate < 1))


def _search(evaluate, guess, *, low, high, trials, most, least=_STEP):
    """A noise multiplier whose epsilon is in [low, high]; None if no noise reaches it.

    Epsilon falls with the noise nearly as a power law, so secants in log-log find it in about
    four evaluations; every third trial halves the bracket, in case they converge slowly. If
    epsilon jumps over [low, high], or the trials end, returns the least noise found whose epsilon
    is below. least: the smallest first step of log noise; small if the guess is nearly right.
    """
    target = math.log((low + high) / 2)
    noisy = quiet = None  # (log noise, log epsilon) with too small and too large an epsilon
    at = math.log(guess)
    for trial in range(trials):
        if abs(at) > math.log(most) or _closed(noisy, quiet):
            break
        epsilon = evaluate(math.exp(at))
        if low <= epsilon <= high:
            return math.exp(at)
        log_epsilon = math.log(min(max(epsilon, _NO_EPSILON), 1e12))
        if epsilon > high:
            quiet = (at, log_epsilon)
        else:
            noisy = (at, log_epsilon)
        least = min(_STEP, 4 * least)  # grow, or a bracket that is nearly met would never close
        at = _next(noisy, quiet, target, least=least, halve=trial % 3 == 2)
    return None if noisy is None else math.exp(noisy[0])


def _closed(noisy, quiet):
    return noisy is not None and quiet is not None and noisy[0] - quiet[0] < _CLOSED


def _next(noisy, quiet, target, *, least, halve):
    if noisy is None:
        return quiet[0] + min(max(1.1 * (quiet[1] - target), least), 1.0)
    if quiet is None:
        return noisy[0] - min(max(1.1 * (target - noisy[1]), least), 1.0)
    width = noisy[0] - quiet[0]
    share = (quiet[1] - target) / (quiet[1] - noisy[1])
    if noisy[1] <= math.log(_NO_EPSILON):  # a power law never reaches 0: interpolate linearly
        share = 1 - math.exp(target - quiet[1])
    return quiet[0] + width * (0.5 if halve else min(max(share, 0.02), 0.98))
