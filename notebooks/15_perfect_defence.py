# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A perfect defence, and what it takes
# *No setting reaches an attack success of 1%: even models that were never attacked call 7 to 15% of
# the stamped images target. A mean lift below a point costs a third of the accuracy or more.*
#
# Razmi et al., section 7.3: table 2 (the largest epsilon at which attack success is at most 1%, a
# tenth of the base class poisoned, with accuracy and training time) and claim R13.

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("15_perfect_defence")

# %% [markdown]
# ## Method
# The paper lowers epsilon until attack success is at most 1%. On classes that a clean model
# confuses, that is out of reach for any defence, the perfect one included: it calls stamped images
# of the base class target as often as unstamped ones. So three criteria are applied side by side,
# for an attacked model $P$ and its clean twin $C$ (same method, same seeds, no poison), on images
# $x$ and their stamped versions $x'$:
#
# $$S_P(x') \leq 1\%, \qquad S_P(x') - S_C(x) \leq 1\%, \qquad S_P(x') - S_P(x) \leq 1\%,$$
#
# attack success, attack success above the natural rate, and lift. $S$ is the share called target.

# %% [markdown]
# ## Set-up and parameters
# First what a reader seldom changes. `papermill` and the files of `params/` can set any name of
# both cells.

# %% tags=["setup"]
train_size = 50000  # training images, the public ones included
test_size = 10000  # test images
# the first training images are public: features are fitted on them, the victim trains on the rest
public = 10000
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never
# the model without a defence
undefended = {"optimizer": "sgd", "lr": 0.01, "epochs": 50.0, "batch_size": 512, "checkpoints": 16}
noise_epochs = 50  # DP-SGD: its epochs
temperature = 0.5  # LP-2ST: of the prior
split = [0.4, 0.6]  # LP-2ST: shares of the records in its two stages (table 6)
teachers = 200  # PATE: models on disjoint blocks of the private images
# their training
teacher = {"optimizer": "sgd", "lr": 0.1, "epochs": 20.0, "batch_size": 32, "sampling": "shuffle"}
# PATE's student
student = {
    "optimizer": "adam", "lr": 0.001, "momentum": 0.0, "epochs": 30.0, "batch_size": 128,
    "sampling": "shuffle"
}
timing_epochs = 50  # of every method where times are compared, as in the paper
timing_pairs = 2  # attack instances timed

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing.

# %% tags=["parameters"]
# a name of lib.data: strokes, mnist, cifar10, cifar10-jpeg, imagefolder:PATH
dataset = "cifar10-jpeg"
features = "patches"  # none (pixels), patches, resnet-public, imagenet-resnet50
model = "head"  # cnn, head, mlp, linear, or my_file.py:function
epochs = 20  # passes over the private images (LP-2ST: in each stage)
fraction = 0.1  # poisoned share of the base class
# base and target classes of the instances
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]
# DP-SGD: noise multiplier, learning rate (1 to 4 tuned in notebook 11)
noise_levels = [[1.0, 0.1], [2.0, 0.03], [4.0, 0.03], [8.0, 0.03]]
epsilons = [0.5, 1.0, 4.0]  # LP-2ST and ALIBI
# epsilon and learning rate, from notebook 13
rates = {"LP-2ST": [[1.0, 0.001], [4.0, 0.003]], "ALIBI": [[1.0, 0.01], [4.0, 0.01]]}
thresholds = [100.0, 140.0]  # PATE without noise: votes that an answer needs, beside no threshold
allowed = 0.01  # attack success, or lift, that counts as none

# %% [markdown]
# Four methods at several settings each, and the undefended model. PATE has no noise here, as in the
# paper's table, and so no guarantee.

# %%
from lib import figures, study, verdicts
from lib.attacks.badnets import BadNets
from lib.papers.razmi import arms, table2
from lib.study import Run, run

base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public,
           features=features, model=model, precision=precision, attack=BadNets(fraction=fraction))
lp2st = arms.lp2st(temperature, split)
settings = [
    arms.undefended(undefended),
    *table2.dp_sgd(noise_levels, epochs=noise_epochs),
    *table2.noise_free_pate(thresholds, teachers, teacher=teacher, student=student),
    *table2.label_private(rates, epsilons, epochs=epochs, lp2st=lp2st),
]

# %% [markdown]
# ## The scan
# Every setting with its clean twin. Left to right: what the clean twin calls target of the stamped
# images, then the three criteria. Lower is better in all four.

# %%
scan = run(table2.scan(base, settings, pairs))
found = table2.judged(scan)
figures.table(
    table2.table(found), id="perfect-scan", missing="–",
    caption=(f"{fraction:.0%} of the base class poisoned: means over {len(pairs)} pairs, in per"
             " cent of all base-class test images [95% t interval]; accuracy as a share; epsilon as"
             " each method means it (∞: no guarantee)."),
)

# %% [markdown]
# ## Table 2
# For each method and criterion the most accurate setting whose mean meets the criterion; a dash
# where none does. The choice is made on the test data that it is reported on, as in the paper.

# %%
figures.table(
    table2.weakest(found, allowed), id="razmi-T2",
    caption=("Table 2 of Razmi et al.: the setting that meets each criterion, with its clean"
             " accuracy. Published: DP-SGD 88.67% (epsilon 2), PATE 85.02% (no guarantee), ALIBI"
             " 89.53% (2), LP-2ST 79.9% (0.9)."),
)

# %% [markdown]
# Accuracy against lift, all settings: a good one lies at the lower right.

# %%
figures.show(
    figures.tradeoff(found, y="lift", series="method", by="setting"), id="perfect-front",
    data=study.tidy([found], only=["method", "setting", "pair", "accuracy", "lift"]),
    finding=table2.finding(found, allowed),
    caption=(f"Clean accuracy against lift, {fraction:.0%} of the base class poisoned, means over"
             f" {len(pairs)} pairs; intervals in the table above. Faint: another setting is at"
             " least as good in both."),
    alt=("Points of four methods in the plane of clean accuracy and lift, with the front of"
         " settings that no other dominates."),
)

# %% [markdown]
# ## Times
# One model of each method, alone on its process, with the paper's 50 epochs (LP-2ST: in each stage;
# PATE: its teachers and its student). Times are those of the head on frozen features, as in the
# paper; features are not counted.

# %%
pate = arms.pate(teachers, teacher=teacher, student=student)
timing = run(table2.timed(base, rates, pate, pairs[:timing_pairs], epochs=timing_epochs,
                          lp2st=lp2st), alone=True)
figures.table(
    table2.times(timing), id="perfect-times",
    caption=("Seconds of one training alone (published, on another machine: DP-SGD 140, PATE 220,"
             " ALIBI 59, LP-2ST 58)."),
)

# %% [markdown]
# ## Published against measured
# Each verdict compares a statistic and its 95% interval over attack instances with a threshold.
# *Fails* needs the interval on the other side and the positive control (the undefended backdoor)
# passed. R13 was amended when some of the study's rows existed; beside it is the verdict as first
# frozen, on today's rows.

# %% tags=["nbval-check-output"]
verdicts.show("15_perfect_defence", study.together([scan, timing]))

# %% [markdown]
# ## What it means
# **Nothing reaches an attack success of 1%.** DP-SGD leaves 24.3% [17.3, 32.1] at its most private
# setting here. Of what the others leave at their strictest, most is not the attack's: ALIBI at a
# label epsilon of 0.5 leaves 16.2% [7.7, 27.1], and its clean twins call 11.4% [4.6, 20.6] of the
# same images target.
#
# **By lift, three settings qualify on average.** The most accurate is PATE with a threshold of 100
# votes, without a guarantee: 0.3 points [-1.1, 1.8], at 46.9% accuracy, where the undefended model
# has 72.5%. ALIBI at 0.5 leaves 0.5 points [-1.1, 2.0], at 43.8%. These intervals reach beyond the
# point: no setting is *shown* to stay below it.
#
# **DP-SGD does not get there.** At noise 8 (epsilon 0.34) it leaves 8.4 points [2.4, 14.4], at
# 48.1% accuracy.
#
# **So the table's order cannot be judged here.** R13 needs a setting of each method that stops the
# attack. The paper's features are 91% accurate without a defence, these 73%. What carries over: by
# the paper's criterion the result depends on the pair of classes. Clean twins at ALIBI's epsilon of
# 0.5 call 1 to 38% of the stamped images target, by pair. And the reported epsilon was chosen on
# test data.
#
# **Times say nothing about the paper's factor of two.** That factor is the cost of per-sample
# gradients by hooks; ours clips in closed form (R13's size is not testable here). Two runs a
# method, one process each beside another one: the table's ratios count, not its seconds.
#
# ## What to try next
# Change `epsilons`, `allowed` or `fraction` in the parameters cell and run again: known rows are
# read, missing ones are trained.
