"""What a target and a claim are: plain frozen records, filled in by the folders of `lib.papers`.

Proportions are fractions in thresholds (0.95) and percent in `published`, as the papers print them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lib.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from pandas import DataFrame

Verdicts = tuple[Verdict | None, Verdict | None]  # on direction and on size; None: none is claimed
Beside = tuple[str, Verdict | None, Verdict | None]  # a name, and the verdicts under it

NOTEBOOKS = (
    "00_start_here",
    "10_setup",
    "11_dpsgd",
    "12_pate",
    "13_privacy_budget",
    "14_attack_strength",
    "15_perfect_defence",
    "16_label_dp",
    "17_training_dynamics",
    "20_mixing_backdoors",
    "21_mixing_targeted",
    "22_instahide_theory",
    "23_instahide_practice",
    "30_dirty_label",
    "31_label_consistent",
    "32_subtle_triggers",
    "33_landscape",
    "34_dp_defence",
    "40_smoothing",
    "41_partition",
    "50_gradient_anatomy",
    "51_indiscriminate",
    "52_one_shot",
    "53_multi_poison",
    "54_boundaries",
    "60_theory_and_practice",
    "61_audit",
    "62_arena",
    "63_adaptive",
    "64_why",
    "90_scorecard",
)

KINDS = ("figure", "table", "text")


@dataclass(frozen=True)
class Number:
    """A number as a paper prints it.

    `n`: its own trials (rates) or runs (means); None where not given.
    """

    what: str
    value: float
    n: int | None = None
    unit: str = "%"
    note: str = ""

    @property
    def hits(self) -> int | None:
        """Successes behind a printed rate, where n trials can give it (45.00% of 20 is 9)."""
        if self.n is None or self.unit != "%":
            return None
        hits = round(self.value / 100 * self.n)
        return hits if abs(100 * hits / self.n - self.value) < 0.051 else None

    def text(self) -> str:
        trials = f" (n {self.n})" if self.n else ""
        return f"{self.what} {self.value:g}{self.unit}{trials}"


@dataclass(frozen=True)
class Target:
    """A figure, table or stated result of a paper, and the notebook that makes it.

    `grid`: what is varied; `data`: data set, model and runs of the paper; `notes`: what the text
    leaves out and where it contradicts itself; `status`: set where there is nothing to measure (an
    illustration).
    `select`: picks the target's rows from its notebook's; None: they cannot be told apart.
    """

    id: str
    kind: str
    title: str
    notebook: str
    grid: str = ""
    data: str = ""
    published: tuple[Number, ...] = ()
    notes: str = ""
    status: str = ""
    select: "Select | None" = None

    @property
    def paper(self) -> str:
        return self.id.partition("-")[0]

    def __post_init__(self) -> None:
        _check(self.id, "kind", self.kind, KINDS)
        _check(self.id, "notebook", self.notebook, NOTEBOOKS)


# What a part's statistic is: the range of its interval, and the unit that it is printed in.
PART_KINDS = {
    "difference": "points",  # of two shares or lifts of one attack
    "lift": "points",  # itself a difference of shares
    "share": "%",
    "ratio": "%",  # of two lifts: no upper end
    "ratio difference": "points",
    "correlation": "",
    "number": "",
}


@dataclass(frozen=True)
class Part:
    """One measurable part of a claim: a statistic, the side of a threshold it must lie on, and why
    there.

    `kind`: one of PART_KINDS. `basis`: "stated" where the paper gives the threshold's number, else
    "ours", with the reason in `why`. Beyond "either": two-sided, both signs are findings.
    `what`: the statistic in three to seven words, for tables. `arithmetic`: where it could not come
    out otherwise, why not, in a few words.
    """

    name: str
    statistic: str
    beyond: str
    threshold: float
    basis: str = "stated"
    why: str = ""
    kind: str = "difference"
    what: str = ""
    arithmetic: str = ""

    def __post_init__(self) -> None:
        _check(self.name, "beyond", self.beyond, ("above", "below", "either"))
        _check(self.name, "basis", self.basis, ("stated", "ours"))
        _check(self.name, "kind", self.kind, tuple(PART_KINDS))
        if self.basis == "ours" and not self.why:
            raise ValueError(f"part {self.name!r}: a threshold of ours needs its reason in why=")

    @property
    def unit(self) -> str:
        return PART_KINDS[self.kind]

    @property
    def words(self) -> str:
        """Of what its number is."""
        return self.what or self.statistic


def above(name: str, statistic: str, threshold: float, **more: Any) -> Part:
    return Part(name, statistic, "above", threshold, **more)


def below(name: str, statistic: str, threshold: float, **more: Any) -> Part:
    return Part(name, statistic, "below", threshold, **more)


def either(name: str, statistic: str, *, why: str, **more: Any) -> Part:
    """A two-sided part: "more" above 0, "less" below; `why`: why neither sign is predicted."""
    return Part(name, statistic, "either", 0, basis="ours", why=why, **more)


@dataclass(frozen=True)
class Amendment:
    """A claim as it was frozen before it was changed, and what was known when it was changed.

    `on`: date and commit; `change`: what changed; `known`: which rows existed or what was known.
    `direction`, `size`: the parts as frozen, which `measure` judges on today's rows; None where
    these rows cannot judge them, with the reason in `change`. `name`: of the claim that it was,
    where that is another one.
    """

    on: str
    change: str
    known: str
    direction: tuple[Part, ...] = ()
    size: tuple[Part, ...] = ()
    measure: "Measure | None" = None
    notebook: str = ""
    name: str = ""


@dataclass(frozen=True)
class Published:
    """The set-up a claim was published for; an empty field is not compared.

    `public`: the first training images that the paper itself keeps out of the private part (PATE:
    10,000). `train_size`: how many training images the paper uses, where it leaves out some.
    """

    words: str
    datasets: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    public: int = 0
    train_size: int | None = None


@dataclass(frozen=True)
class Claim:
    """A falsifiable statement of a paper with its thresholds, frozen before its rows.

    `direction` and `size` get a verdict each; an empty tuple means that the paper claims none.
    `measure`: the function that measures it; None: nothing does yet. `control`: least undefended
    lift (fraction) that makes the positive control pass. `split`: the claims that a compound one
    falls
    into. `figures`: ids of figures of this report that show it, beside those of its targets.
    `amended`: its earlier version, where thresholds changed after some rows existed. `planned`:
    attack instances stated beforehand, of the set-up with the fewest; 0 where none are needed. On
    fewer nothing is decided.
    `looked`: where instances were added after a look at the verdict on the published rows, what
    was seen and added. `formula`: its measure needs no rows.
    """

    id: str
    paper: str
    statement: str
    source: str
    published: str
    notebook: str
    targets: tuple[str, ...]
    direction: tuple[Part, ...] = ()
    size: tuple[Part, ...] = ()
    basis: str = "stated"
    positive_control: str = ""
    setup: Published = field(default_factory=lambda: Published("the paper's own set-up"))
    measure: "Measure | None" = None
    control: float = 0.25
    notes: str = ""
    split: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    amended: Amendment | None = None
    planned: int = 10
    looked: str = ""
    formula: bool = False

    def __post_init__(self) -> None:
        _check(self.id, "notebook", self.notebook, NOTEBOOKS)
        _check(self.id, "basis", self.basis, ("stated", "ours"))
        names = [part.name for part in self.direction + self.size]
        if len(set(names)) < len(names):
            raise ValueError(
                f"claim {self.id}: parts {', '.join(names)}; every part needs a name of its own"
            )
        if self.planned < 0:
            raise ValueError(f"claim {self.id}: planned {self.planned}; expected 0 or more")
        if any(
            len({part.beyond == "either" for part in parts}) > 1
            for parts in (self.direction, self.size)
        ):
            raise ValueError(
                f"claim {self.id}: one-sided and two-sided parts under one verdict; "
                "expected parts of one kind"
            )

    @property
    def marks(self) -> tuple[str, ...]:
        """What a reader must know before the verdict, in words."""
        found = []
        if self.amended is not None:
            old = self.amended
            found.append(
                f"{'replaces ' + old.name if old.name else 'amended'}, {old.on}: "
                f"{old.change}; known then: {old.known}"
            )
        return (*found, f"optional stopping: {self.looked}") if self.looked else tuple(found)

    def part(self, name: str) -> Part:
        for part in self.direction + self.size:
            if part.name == name:
                return part
        raise ValueError(
            f"claim {self.id}: no part {name!r}; it has "
            f"{', '.join(part.name for part in self.direction + self.size)}"
        )


@dataclass(frozen=True)
class Measurement:
    """What measuring a claim returns: a verdict on direction and on size (None: none is claimed).

    `beside`: the same on other metrics, shown and not decisive. `rows`: runs used.
    """

    direction: Verdict | None
    size: Verdict | None
    beside: tuple[Beside, ...] = ()
    setup: str = ""
    rows: int = 0
    note: str = ""


# Rows by notebook as `lib.study.run` returns them; "NAME/curves": recorded paths.
Frames = Mapping[str, "DataFrame"]
Measure = Callable[[Frames, Claim], Measurement]
Select = Callable[["DataFrame"], "DataFrame"]


def _check(owner: str, what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{owner}: {what} {value!r}; expected one of {', '.join(allowed)}")
