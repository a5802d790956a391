"""Ozyikan, Sandoval and Khasar (overview of provable robustness): claims O1 to O12.

No numbers are printed. Two captions contradict the text: the DP noise of figure 6 is 0.5, 1, 2 in
the caption and 0.5, 2, 5 in the text; figure 5 has sigma 5 where the study has 0.5, 1, 2. The text
finds k = 50 and k = 250 "remarkably low" after having argued that accuracy falls as k grows.
"""

from lib.papers import Paper
from lib.verdicts.claim import Published

PAPER = Paper(
    "Ozyikan, Sandoval, Khasar: Overview of Provable Robustness and Defenses against Data Poisoning"
    " Attacks: Techniques and Bounds",
    order=4,
)

SHAPE = "shape only; read as box plots over the models"
RAB = "CIFAR-10; RAB of 1,000 fine-tuned ResNets; four-pixel trigger"
SETUP = Published(words=f"{RAB}; alpha 0.001", datasets=("cifar10",), features=("none",))
PARTS = Published(
    words="CIFAR-10, Network-in-Network, 200 epochs a partition",
    datasets=("cifar10",),
    features=("none",),
)
