"""The statement printed beside a result: an epsilon with everything that gives it meaning."""

import dataclasses
import math

from . import checks

ADJACENCIES = ("add-remove", "replace-one", "zero-out", "label", "none")
_NAMES = {"pld": "PLD", "rdp": "RDP", "prv": "PRV", "poisson": "Poisson"}


@dataclasses.dataclass(frozen=True)
class Guarantee:
    """An (epsilon, delta) guarantee and its conditions, or the reason why there is none.

    Attributes:
        epsilon: inf if there is no guarantee.
        delta: 0.0 for a pure guarantee.
        adjacency: which data sets are neighbours: "add-remove", "replace-one", "zero-out",
            "label" (one label replaced; images unprotected), "none" (no guarantee).
        sampler: "poisson", "shuffle", ... ; None if nothing is sampled.
        accountant: "pld", "rdp", "prv", "gaussian", ... ; None if not needed.
        noise_multiplier: standard deviation of the noise over max_grad_norm.
        max_grad_norm: clipping norm C.
        sample_rate: q, the probability that a step sees a record.
        steps: T.
        note: why there is no guarantee, or a remark on it.
    """

    epsilon: float
    delta: float = 0.0
    adjacency: str = "add-remove"
    sampler: str | None = None
    accountant: str | None = None
    noise_multiplier: float | None = None
    max_grad_norm: float | None = None
    sample_rate: float | None = None
    steps: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        checks.number("epsilon", self.epsilon, low=0.0)
        checks.number("delta", self.delta, low=0.0, high=1.0)
        checks.choice("adjacency", self.adjacency, ADJACENCIES)

    @classmethod
    def none(cls, why: str) -> "Guarantee":
        """No guarantee, with the reason."""
        return cls(epsilon=math.inf, adjacency="none", note=why)

    @property
    def holds(self) -> bool:
        """Whether this guarantees anything: a finite epsilon and a delta below 1."""
        return self.adjacency != "none" and math.isfinite(self.epsilon) and self.delta < 1

    def as_dict(self) -> dict:
        """The fields as plain values, in order."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        if not self.holds:
            return f"no guarantee: {self.note or self._reason()}"
        words = [word for word in (self.adjacency, self.sampler, self.accountant) if word]
        kind = ", ".join(_NAMES.get(word, word) for word in words)
        settings = ", ".join(f"{name} {value:.3g}" for name, value in self._settings())
        note = f"; {self.note}" if self.note else ""
        inside = f"{kind}; {settings}" if settings else kind
        return f"epsilon {_upwards(self.epsilon)} at delta {_short(self.delta)} ({inside}){note}"

    def _settings(self):
        pairs = (
            ("z", self.noise_multiplier),
            ("C", self.max_grad_norm),
            ("q", self.sample_rate),
        )
        found = [(name, value) for name, value in pairs if value is not None]
        return found + ([("T", _Whole(self.steps))] if self.steps is not None else [])

    def _reason(self):
        if self.noise_multiplier == 0:
            return "no noise is added (noise multiplier 0)"
        if self.delta >= 1:
            return "delta is 1"
        return "epsilon is infinite" if math.isinf(self.epsilon) else "nothing is protected"


class _Whole(int):
    """A count that prints in full, whatever the format."""

    def __format__(self, _):
        return str(int(self))


def _upwards(value):
    """Four significant digits, rounded up: a printed epsilon is never below the true one."""
    if value == 0:
        return "0"
    digits = 3 - math.floor(math.log10(value))
    scaled = value * 10.0**digits
    return _short(math.ceil(scaled - 1e-6) / 10.0**digits, "%.4g")


def _short(value, form="%g"):
    mantissa, _, exponent = (form % value).partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa
