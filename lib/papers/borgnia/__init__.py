"""Borgnia et al. (DP-InstaHide): claims I1 to I14.

Table 2's fractions imply that some cells rest on fewer than the 20 trials stated: 72.73% is 8 of 11
(or 16 of 22), 81.25% is 13 of 16, 5.26% is 1 of 19; table 5's 86.25% is 69 of 80.
"""

from lib.papers import Paper
from lib.verdicts.claim import Published

PAPER = Paper(
    "Borgnia, Geiping, Cherepanova, Fowl, Gupta, Ghiasi, Huang, Goldblum, Goldstein: DP-InstaHide:"
    " Provably Defusing Poisoning and Backdoor Attacks with Differentially Private Data"
    " Augmentations",
    order=2,
)

RESNET = "CIFAR-10, ResNet-18"
SHAPE = "shape only"
SETUP = Published(
    words=f"{RESNET} from scratch, 80 epochs; 20 pairs of classes",
    datasets=("cifar10",),
    features=("none",),
)
MATCHING = Published(
    words=f"{RESNET}, 40 epochs; gradient matching, 500 poisons, 16/255, 8 restarts",
    datasets=("cifar10",),
    features=("none",),
)
CARD = (
    "the baselines (FC 80, CP 95, HTBD 60, CLBD 65) contradict the benchmark the paper follows "
    "(22, 33, 10, 5 by transfer): give the benchmark's constraints and looser ones"
)
