"""Razmi, Lou and Xiong: claims R1 to R15.

The figures carry no printed numbers unless said. All of them are one run, except label-DP and
query-based PATE (mean of 10). The attack relabels half of one base class: 5% of the training set,
not half of it, as the paper's section 7.2 and the caption of its figure 4 put it.
"""

from dataclasses import replace

from lib.papers import Paper
from lib.verdicts.claim import Published

PAPER = Paper(
    "Razmi, Lou, Xiong: Does Differential Privacy Prevent Backdoor Attacks in Practice?", order=1
)

CIFAR = "CIFAR-10, ImageNet ResNet-50 features, head 256"
SHAPE = "shape only"
HEAD = Published(
    words=f"{CIFAR}; half of one base class relabelled; one pair of classes",
    datasets=("cifar10",),
    features=("imagenet-resnet50",),
    models=("head",),
)
PATE = replace(
    HEAD,
    public=10000,
    words=f"{HEAD.words}; the first 10,000 images public, stamped ones among them",
)
END_TO_END = Published(
    words="MNIST, the two-layer CNN from scratch; 7 to 1",
    datasets=("mnist",),
    features=("none",),
    models=("cnn",),
)
