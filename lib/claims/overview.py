"""Ozyikan, Sandoval and Khasar (overview of provable robustness): every figure, and claims O1 to O12.

No numbers are printed. Two captions contradict the text: the DP noise of figure 6 is .5, 1, 2 in the
caption and .5, 2, 5 in the text; figure 5 has sigma 5 where the study has .5, 1, 2. The text finds k = 50
and k = 250 "remarkably low" after having argued that accuracy falls as k grows.
"""

from lib.claims.registry import Claim, Published, Target, above, below

SHAPE = "shape only; read as box plots over the models"
RAB = "CIFAR-10; RAB of 1,000 fine-tuned ResNets; four-pixel trigger"
BINARY = "the released code is binary and small, the text says ten classes and a subset: both"
SETUP = Published(words=f"{RAB}; alpha .001", datasets=("cifar10",), features=("none",))
PARTS = Published(words="CIFAR-10, Network-in-Network, 200 epochs a partition", datasets=("cifar10",), features=("none",))
EXACT = "exact: no sampling decides"

TARGETS = (
    Target("overview-F1", "figure", "The poisoning problem, sketched", "40_smoothing", status="illustration"),
    Target("overview-F2", "figure", "An image with and without the four-pixel trigger", "40_smoothing", status="illustration"),
    Target("overview-F3", "figure", "Certified accuracy on clean test images against the share of poison", "40_smoothing",
           "2, 5, 10%; sigma .5, 1, 2; N 1000", RAB, notes=f"{SHAPE}; the radius is not stated (0 and a grid); {BINARY}",
           select="certified:share_rows"),
    Target("overview-F4", "figure", "The same on triggered test images", "40_smoothing", "2, 5, 10%; sigma .5, 1, 2; N 1000",
           RAB, notes=f"{SHAPE}; rises with the poison: what RAB's training script prints has labels set to the target, so "
           "it is an attack success rate", select="certified:share_rows"),
    Target("overview-F5", "figure", "Both with 100 models", "40_smoothing", "N 100; sigma printed as 5", RAB,
           notes=f"{SHAPE}; sigma 5 or .5: both are run", select="certified:few_rows"),
    Target("overview-F6", "figure", "RAB on models trained with DP-SGD", "40_smoothing",
           "noise .5, 1, 2 (caption) or .5, 2, 5 (text); C 1; sigma .5", RAB, notes=SHAPE, select="certified:private_rows"),
    Target("overview-F7L", "figure", "DPA against the share of poison", "41_partition", "k 50, 250, 500", "CIFAR-10",
           notes=f"{SHAPE}; no certificate can hold at 2% (2,000 insertions and deletions against k/2), so this must be "
           "plain accuracy; the text contradicts itself on which k is low", select="partitions:part_rows"),
    Target("overview-F7R", "figure", "RAB against DPA", "41_partition", "2, 5, 10%", "CIFAR-10",
           notes=f"{SHAPE}; the certificates differ: l2 of the pattern, number of samples", select="partitions:contrast_rows"),
    Target("overview-Alg1", "text", "DP-SGD in pseudo-code", "40_smoothing", status="documentation"),
)

CLEAN = "the clean ensemble beats chance by 20 points"
LOOKED = ("with three pairs (1c61ea8) O1 to O6 were all inconclusive, two pairs were then added, "
          "and O1, O2 and O6 hold, O3 fails; the intervals do not allow for the first look")

CLAIMS = (
    Claim("O1", "overview", "RAB's certified accuracy on clean images falls as more is poisoned.", "section 4.2, figure 3",
          SHAPE, "40_smoothing", ("overview-F3",), (below("change", "certified accuracy at 10% minus 2%, worst sigma", 0),),
          positive_control=CLEAN, setup=SETUP, looked=LOOKED,
          measure="certified:more_poison"),
    Claim("O2", "overview", "More smoothing lowers the median certified accuracy.", "section 4.2, figure 3", SHAPE,
          "40_smoothing", ("overview-F3",), (below("change", "median at sigma 2 minus sigma .5", 0),),
          positive_control=CLEAN, setup=SETUP, looked=LOOKED,
          measure="certified:median"),
    Claim("O3", "overview", "More smoothing makes the models more alike.", "section 4.2, figure 3", SHAPE, "40_smoothing",
          ("overview-F3",), (below("change", "interquartile range over models at sigma 2 minus sigma .5", 0),),
          positive_control=CLEAN, setup=SETUP, looked=LOOKED,
          measure="certified:quartile_range"),
    Claim("O4", "overview", "The number printed for triggered images rises with the poison: it is attack success, while "
          "true-label accuracy falls.", "section 4.2, figure 4", SHAPE, "40_smoothing", ("overview-F4",),
          (above("rise", "printed number at 10% minus 2%", 0), below("truth", "true-label accuracy at 10% minus 2%", 0)),
          (above("same", "correlation of the printed number with attack success", 0.9, basis="ours", percent=False,
                 why="near identity: target-class images are in it too"),), basis="ours",
          positive_control=CLEAN, setup=SETUP, looked=LOOKED,
          measure="certified:more_poison"),
    Claim("O5", "overview", "A hundred models show what a thousand do.", "section 4.2, figure 5", SHAPE, "40_smoothing",
          ("overview-F5",), (below("clean", "clean certified accuracy at 10% minus 2%, N 100", 0),
                             above("triggered", "printed triggered number at 10% minus 2%, N 100", 0)),
          positive_control=CLEAN, setup=SETUP, looked=LOOKED,
          notes="the radius has a ceiling that falls with N: .893 sigma at 100",
          measure="certified:hundred_models"),
    Claim("O6", "overview", "More DP noise inside RAB does not raise its certified accuracy "
          "('DP-SGD adds nothing').", "section 4.2, figure 6", SHAPE, "40_smoothing",
          ("overview-F6",),
          (below("gain", "largest rise of certified accuracy per step of DP noise", 0),),
          positive_control=CLEAN, setup=SETUP, looked=LOOKED,
          notes="compares levels of DP noise alone; beside it each level against the same "
          "ensemble without DP-SGD, with what else differs between the two",
          measure="certified:more_dp_noise"),
    Claim("O7", "overview", "More partitions certify more samples and cost accuracy.", "section 4.2, figure 7", SHAPE,
          "41_partition", ("overview-F7L",), (below("accuracy", "clean accuracy at k 500 minus k 50", 0),
                                              above("radius", "largest certified radius at k 500 minus k 50", 0, percent=False)),
          positive_control=CLEAN, setup=PARTS,
          measure="partitions:more_parts"),
    Claim("O8", "overview", "RAB is more accurate than DPA on clean images.", "section 4.2, figure 7", SHAPE, "41_partition",
          ("overview-F7R",), (above("difference", "clean accuracy of RAB minus DPA, worst share", 0),),
          positive_control=CLEAN, setup=SETUP,
          measure="partitions:smoothing_against_parts"),
    Claim("O9", "overview", "No certified prediction changes under poison inside its radius.", "corollary 1, theorem 2", "exact",
          "41_partition", ("overview-F3", "overview-F7L"), (below("flips", "certified samples that flipped", 0.5, basis="ours",
                                                            percent=False, why="a count: none"),),
          positive_control="the same poison flips uncertified samples",
          notes="exact for DPA; for RAB with probability 1 - alpha and against the same labels without the patterns",
          measure="partitions:no_flips", figures=("partition-sound",)),
    Claim("O10", "overview", "DPA certifies at most k/2 samples, so nothing at 2% poison.", "theorem 2", "exact",
          "41_partition", ("overview-F7L",), (below("radius", "largest radius minus floor(k/2)", 0.5, basis="ours",
                                              why="a count: at most 0", percent=False),
                                              below("certified", "samples certified at 2%", 0.5, basis="ours",
                                                    why="a count: none", percent=False)), positive_control=EXACT,
          measure="partitions:half_the_parts", figures=("partition-certified",)),
    Claim("O11", "overview", "RAB's radius never exceeds sigma times the normal quantile of one minus the Hoeffding shift.",
          "equation 20", "exact", "40_smoothing", ("overview-F3",),
          (below("radius", "largest radius minus the ceiling", 1e-6, basis="ours", why="rounding", percent=False),),
          positive_control=EXACT,
          measure="certified:within_ceiling", figures=("smoothing-certified",)),
    Claim("O12", "overview", "At 10% poison the pattern's norm is beyond any radius RAB can certify.", "equation 20", "exact",
          "40_smoothing", ("overview-F3",), (above("excess", "norm of all patterns minus the ceiling", 0, percent=False),),
          positive_control=EXACT, notes="delta .1, sigma .5, N 1000, 10,000 binary images: 3.16 against .78",
          measure="certified:beyond_ceiling", figures=("smoothing-budget",)),
)
