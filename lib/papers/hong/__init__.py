"""Hong et al. (gradient shaping): claims G1 to G16.

What the text leaves out: the "noise multiplier" is an absolute deviation on the summed clipped
gradient (algorithm 1 has no C either), so z = noise / C. RAD, the relative accuracy drop, uses the
best epoch and stops once it reaches the baseline, so it is never negative; here the last epoch
stands beside it. A hundred targets are stated, the fractions imply fewer (73 to 78 for logistic
regression).
"""

from lib.papers import Paper
from lib.verdicts.claim import Published

PAPER = Paper(
    "Hong, Chandrasekaran, Kaya, Dumitraş, Papernot: "
    "On the Effectiveness of Mitigating Data Poisoning Attacks with Gradient Shaping",
    order=5,
)

BINARY = "Fashion-MNIST, dress and coat, 10,800 images; logistic regression"
PURCHASE = "Purchase-100, logistic regression"
SHAPE = "shape only"
SETUP = Published(
    words=f"{BINARY}, Adam 0.01, 40 epochs",
    datasets=("fashion-mnist:3-4", "fashion-mnist"),
    features=("none",),
    models=("linear",),
    train_size=10800,
)
TARGETED = Published(
    words=f"{PURCHASE} (also MLP on Fashion-MNIST, CNN on CIFAR-10); Poison Frogs on 100 targets",
    datasets=("purchase-100",),
    features=("none",),
)
