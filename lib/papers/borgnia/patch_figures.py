"""Notebook 20 on the patch: figure 1, and the headline."""

from typing import TYPE_CHECKING

from lib import figures
from lib.papers import Headline
from lib.papers.borgnia import table1
from lib.papers.borgnia.patching import ALL, CLUSTERING, CUTMIX, MIXUP, SPECTRAL, TENTH

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from lib.attacks.random_patch import RandomPatch

SIDES = ("the defence helps", "it harms")


def pictured(dataset: str, attack: "RandomPatch", *, count: int = 3, seed: int = 6
             ) -> "tuple[Tensor, list[str]]":
    """Figure 1: training images of the target class as they are, patched, and what CutMix and mixup
    make of a batch with them: uint8 [4 x count, ...], and their titles."""
    import torch

    from lib import data

    known = data.load(dataset, train_size=400, test_size=20)
    own = known.train_images[known.train_labels == attack.target][:count]
    patched = attack.trigger(own, seed=seed)
    others = known.train_images[known.train_labels != attack.target][:count]
    batch = torch.cat([patched, others]).float()
    mixed = [_mixed(name, batch, seed)[:count].to(torch.uint8) for name in (CUTMIX, MIXUP)]
    titles = ["clean", "patched", *(f"patched, {name}" for name in (CUTMIX, MIXUP))]
    return torch.cat([own, patched, *mixed]), [one for one in titles for _ in range(count)]


def _mixed(name: str, batch: "Tensor", seed: int) -> "Tensor":
    """A batch of images [n, ...] as a transform mixes it, in every batch."""
    import torch

    from lib.training import generator
    from lib.training.transforms.cutmix import CutMix
    from lib.training.transforms.mixup import Mixup

    transform = CutMix(probability=1.0) if name == CUTMIX else Mixup()
    drawn = transform.draw(len(batch), tuple(batch.shape[1:]), generator(name, seed))
    labels = torch.zeros(1, len(batch), 2)
    draws = {key: value[None] for key, value in drawn.items()}
    return transform.apply(batch[None], labels, draws)[0][0].round()


def headline(published: "DataFrame") -> Headline:
    """Notebook 20: what each defence of table 1 changes, against the undefended model."""
    found = table1.nearest(published)
    arms = [CUTMIX, MIXUP, SPECTRAL, CLUSTERING]
    shown = table1.against_none(found, arms, (ALL, TENTH))
    pairs = shown["pair"].nunique()
    return Headline(
        "mixing-headline",
        figures.contrasts(shown, by="than", better="lower", sides=SIDES,
                          xlabel="patched victims called target, minus without a defence"),
        shown,
        "What each defence changes in the success of a random-place patch on all or a tenth of the"
        " target class, against the undefended model in the same pair of classes, mean and 95% t"
        f" interval over {pairs} pairs (dots).",
        "Forest plot: for each defence and patched share, its success minus that of the undefended"
        " model, beside a line at zero.",
        table1.finding(found, arms))


HEADLINES = {"20_mixing_backdoors": headline}
