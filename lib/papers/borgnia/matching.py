"""The runs of gradient matching: tables 2, 3 and 5, figures 2, 4b and 5.

A trial is one target, a test image, with the label that the attacker wants for it; its poisoned
images, their brew and the victim's training have seeds of their own. The classes of a trial are
those of `PAIRS` in turn, so that ten trials use each class once as the target's and once as the
wanted one; the paper draws them. Every trial has its clean twin, a training on the unchanged images
with the same seeds: what the target is called without poison. The attacker's networks are the same
in all trials of an arm, so that intervals over trials do not cover their training.

An *unaware* attacker brews on a network of the victim's kind that is trained without the defence,
an *adaptive* one on a network trained with it, through which the poisons pass as well. Against a
filter or noise on gradients there is no adaptive attacker in the paper.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lib.attacks.gradient_matching import GradientMatching
from lib.defences.batch_clipping import BatchClipping
from lib.papers.borgnia import patching
from lib.papers.borgnia.patching import CUTMIX, NONE, PAIRS
from lib.study.design import worlds
from lib.study.runs import Run
from lib.training.transforms import Transform
from lib.training.transforms.cutmix import CutMix
from lib.training.transforms.cutout import Cutout
from lib.training.transforms.laplace import Laplace
from lib.training.transforms.maxup import MaxUp
from lib.training.transforms.mixup import Mixup

TWO, FOUR, CUTOUT = "2-way mixup", "4-way mixup", "cutout"
TWO_DRAWN, FOUR_DRAWN = f"{TWO}, random weights", f"{FOUR}, random weights"
MAXUP, RELEASED = "MaxUp-cutout", "MaxUp-cutout, as released"
LATE = 0.125  # share of the training before MaxUp: 5 of 40 epochs (appendix A.2)
BOX = Cutout(18)  # of 32 pixels, in the released code
AUGMENTATIONS: Mapping[str, tuple[Transform, ...]] = {
    NONE: (), TWO: (Mixup(),), FOUR: (Mixup(4),), CUTOUT: (BOX,), CUTMIX: (CutMix(),),
    MAXUP: (MaxUp(4, (BOX,), after=LATE),),
    # Four stacked boxes and no maximum, see `MaxUp`.
    RELEASED: (MaxUp(4, (BOX,), worst=False, after=LATE),),
    # The text of the paper prints equal weights; the released code draws them once a batch.
    TWO_DRAWN: (Mixup(weights="dirichlet"),), FOUR_DRAWN: (Mixup(4, "dirichlet"),),
}


def augmented(victim: Run, *added: Transform) -> Run:
    """The victim with further transforms after its own."""
    return victim.with_(training__transforms=(*victim.training.transforms, *added))


def noisy(width: int, scale: float) -> tuple[Transform, ...]:
    """DP-InstaHide as it is run: k-way mixup with equal weights, then Laplace noise.

    width: k, 1 for no mixing. scale: of the noise in levels of a pixel, 0 to 255; 0 for none.
    Raises ValueError for k below 1.
    """
    if width < 1:
        raise ValueError(f"DP-InstaHide with k {width}: expected 1 or more; 1 mixes nothing")
    mixed = (Mixup(width),) if width > 1 else ()
    return (*mixed, Laplace(scale / 255)) if scale else mixed


def attack(victim: Run, trial: int, **settings: Any) -> GradientMatching:
    """The unaware attacker of a trial, who trains networks as the victim's without a defence.

    settings: further fields of `GradientMatching`, such as fraction, iterations and restarts.
    """
    base, label = PAIRS[trial % len(PAIRS)]
    return GradientMatching(target=trial // len(PAIRS), base=base, label=label, model=victim.model,
                            training=victim.training, **settings)


def runs(victim: Run, defences: Mapping[str, Sequence[Transform]], *, trials: int,
         adaptive: bool = False, **settings: Any) -> list[Run]:
    """Each trial against each defence, attacked (P) and clean (C); equal runs once.

    victim: the undefended one. defences: transforms by name. settings: of `attack`.
    """
    found = []
    for added in defences.values():
        for trial in range(trials):
            own = attack(victim, trial, **settings)
            made = augmented(victim, *added).with_(
                attack=own.adaptive(*added) if adaptive and added else own)
            found += worlds(seeded(made, trial), "PC")
    return list(dict.fromkeys(found))


def defended(arms: Mapping[str, Run], *, trials: int, **settings: Any) -> list[Run]:
    """Each trial against each arm of `patching.filters` or `patching.noisy`, with its clean twin.

    The attacker is unaware: its networks have the arm's model and plain training.
    """
    return [each for victim in arms.values() for trial in range(trials)
            for each in worlds(seeded(
                victim.with_(attack=attack(victim, trial, **settings)), trial), "PC")]


def clipped(victim: Run, noises: Iterable[float]) -> Mapping[str, Run]:
    """The paper's "DP-SGD" at each noise: clipping and noise on the mean gradient of a batch."""
    from lib.study.table import flatten  # it needs pandas, which training does not

    found = [victim.with_(defence=BatchClipping(noise)) for noise in noises]
    return {name(flatten(run)): run for run in found}


def seeded(run: Run, trial: int) -> Run:
    """The run with the seeds of a trial."""
    return run.with_(attack_seed=trial, init_seed=trial, noise_seed=trial)


# ---------------------------------------------------------------- names

def name(values: Mapping[str, Any]) -> str:
    """The arm of a run from its columns (a row of `study.run`), as `AUGMENTATIONS` names it."""
    return patching.name(values, KNOWN)


def aware(values: Mapping[str, Any]) -> bool:
    """Whether the attacker of a row trains its networks with the victim's augmentations."""
    return bool(patching.added(values["attack.training.transforms"]))


KNOWN = {patching.told(own[0]): name for name, own in AUGMENTATIONS.items() if own}
