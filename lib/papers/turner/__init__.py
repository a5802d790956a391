"""Turner's thesis on label-consistent backdoors: claims T1 to T16.

Numbers of poisons: 0.4, 1.5, 6, 25, 100% of one class are 20, 75, 300, 1,250, 5,000 images; chapter
2's percentages are of the whole set. Chapters 3 and 4 count test images not *labelled* target,
chapter 5 images not *classified* target when clean. The first column of poisons in chapter 5 is 50
to 5,000.
"""

from lib.papers import Paper
from lib.verdicts.claim import Published

PAPER = Paper(
    "Turner: Exploring the Landscape of Backdoor Attacks on Deep Neural Network Models (thesis)",
    order=3,
)

SHAPE = "shape only"
SETUP = Published(
    words="CIFAR-10, pre-activation ResNet-32, 100,000 steps of 50",
    datasets=("cifar10",),
    features=("none",),
    models=("resnet-32",),
)
FROZEN = Published(
    words="CIFAR-10; ResNet-32 pretrained on CIFAR-100, last three layers trained; clipping by 16 "
    "micro-batches of 125",
    datasets=("cifar10",),
    features=("none",),
)
MICRO = "clips 16 micro-batch means, not samples: no epsilon is printed"
