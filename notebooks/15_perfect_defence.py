# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A perfect defence, and what it takes
# *No setting reaches an attack success of 1%, and none could; a lift below a point takes a third of
# the accuracy or more.*
#
# Razmi et al., section 7.3: table 2 (the largest epsilon at which attack success is at most 1%, a
# tenth of the base class poisoned, with accuracy and training time) and claim R13.

# %%
try:
    import lib
except ImportError:
    # a kernel from outside the project's environment: the checkout is the folder above
    import sys
    sys.path.insert(0, "..")

# %% [markdown]
# Everything that can be changed stands here; `papermill` and the YAML files of `params/` set the
# same names.

# %% tags=["parameters"]
# a name of lib.data: strokes, mnist, cifar10, cifar10-jpeg, imagefolder:PATH
dataset = "cifar10-jpeg"
train_size = 50000  # training images, the public ones included
test_size = 10000  # test images
# the first training images are public: features are fitted on them, the victim trains on the rest
public = 10000
features = "patches"  # none (pixels), patches, resnet-public, imagenet-resnet50
model = "head"  # cnn, head, mlp, linear, or my_file.py:function
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never
epochs = 20  # passes over the private images (LP-2ST: in each stage)
# the model without a defence
undefended = {"optimizer": "sgd", "lr": 0.01, "epochs": 50.0, "batch_size": 512, "checkpoints": 16}
fraction = 0.1  # poisoned share of the base class
# base and target classes of the instances
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]
# DP-SGD: noise multiplier, learning rate (1 to 4 tuned in notebook 11)
noise_levels = [[1.0, 0.1], [2.0, 0.03], [4.0, 0.03], [8.0, 0.03]]
noise_epochs = 50  # and its epochs
epsilons = [0.5, 1.0, 4.0]  # LP-2ST and ALIBI
# epsilon and learning rate, from notebook 13
rates = {"LP-2ST": [[1.0, 0.001], [4.0, 0.003]], "ALIBI": [[1.0, 0.01], [4.0, 0.01]]}
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
thresholds = [100.0, 140.0]  # PATE without noise: votes that an answer needs, beside no threshold
allowed = 0.01  # attack success, or lift, that counts as none
timing_epochs = 50  # of every method where times are compared, as in the paper
timing_pairs = 2  # attack instances timed

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run.

# %%
from dataclasses import replace

import pandas as pd

from lib import figures, study, verdicts
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.defences.pate import PATE
from lib.goals import parts
from lib.metrics import mean_interval
from lib.study import Run, instances, recipes, run, worlds
from lib.training import Training

# %% [markdown]
# ## The scan
# The paper scans epsilon downwards until attack success is at most 1%. On classes that a clean
# model confuses, that is out of reach for any defence, the perfect one included: stamped images of
# the base class are called target as often as unstamped ones. So three criteria stand side by side:
# attack success itself, attack success above natural confusion (the clean twin), and lift.

# %%
base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public,
           features=features, model=model, precision=precision, attack=BadNets(fraction=fraction))
extra = {"LP-2ST": {"temperature": temperature, "split": tuple(split)}}
pate = PATE(teachers, teacher=Training(**teacher))
arms = {("undefended", ""): {"defence": DPSGD(0.0, clip=False), "training": Training(**undefended)}}
arms |= {("DP-SGD", f"noise {z:g}"): {
             "defence": DPSGD(z), "training": Training("sgd", lr, epochs=float(noise_epochs),
                                                       batch_size=512)
         } for z, lr in noise_levels}
arms |= {("PATE", f"threshold {votes:g}" if votes else "no threshold"): {
             "defence": replace(pate, threshold=votes), "training": Training(**student)
         } for votes in [None, *thresholds]}
arms |= {(name, f"ε {epsilon:g}"): recipes.arm(name, epsilon, lr=recipes.tuned(
             dict(tried), epsilon), epochs=epochs, **extra.get(name, {}))
         for name, tried in rates.items()
         for epsilon in epsilons}

# %% [markdown]
# Every setting with its clean twin.

# %%
cases = [(*name, one)
         for name, arm in arms.items()
         for instance in instances(base.with_(**arm), pairs)
         for one in worlds(instance, "PC")]
scan = run(case[-1] for case in cases)
scan["method"], scan["setting"] = [case[0] for case in cases], [case[1] for case in cases]
found = parts(scan)
found["above natural"] = found["success"] - found["natural"]
criteria = {"success": "attack success", "above natural": "above natural", "lift": "lift"}
lines = []
for (method, setting), group in found.groupby(["method", "setting"], sort=False):
    values = {name: mean_interval(group[column]) for column, name in criteria.items()}
    lines.append({
        "method": method, "setting": setting, "epsilon": group["epsilon"].mean(),
        "accuracy": group["accuracy"].mean(), **{
            name: value.mean for name, value in values.items()
        }, "lift, upper end": values["lift"].high
    })
summary = pd.DataFrame(lines)
figures.table(
    summary,
    id="perfect-scan",
    caption=(
        f"{fraction:.0%} of the base class poisoned, means over {len(pairs)} pairs, shares of all"
        " base-class test images, upper end of the 95% t interval; epsilon as each method means it"
        " (∞: no guarantee)."
    ),
)

# %% [markdown]
# ## Table 2
# For each method and criterion the setting with the largest epsilon (without noise: the most
# accurate) whose mean meets the criterion; a dash where none does.

# %%
def weakest(method, column):
    """The most accurate setting of a method that meets a criterion, as words."""
    good = summary[summary["method"].eq(method) & summary[column].le(allowed)]
    if good.empty:
        return "–"
    best = good.sort_values("accuracy").iloc[-1]
    return f"{best['setting']}: {best['accuracy']:.1%}"


table2 = pd.DataFrame([{
    "method": method,
    **{f"{name} at most {allowed:.0%}": weakest(method, name) for name in criteria.values()}
} for method in ("DP-SGD", "PATE", "ALIBI", "LP-2ST")])
figures.table(
    table2,
    id="razmi-T2",
    caption=(
        "Table 2 of Razmi et al.: the setting that meets each criterion, with its clean accuracy."
        " Published: DP-SGD 88.67% (epsilon 2), PATE 85.02% (no guarantee), ALIBI 89.53% (2),"
        " LP-2ST 79.9% (.9)."
    ),
)

# %% [markdown]
# Accuracy against lift, all settings.

# %%
figures.show(
    figures.tradeoff(found, y="lift", series="method", by="setting"),
    id="perfect-front",
    data=study.tidy([found]),
    caption=(
        f"Clean accuracy against lift, {fraction:.0%} of the base class poisoned, mean and 95% t"
        f" interval over {len(pairs)} pairs."
    ),
    alt=(
        "Points of four methods in the plane of clean accuracy and lift, with the front of settings"
        " that no other dominates."
    ),
)

# %% [markdown]
# ## Times
# One model of each method, alone on its process, with the paper's 50 epochs (LP-2ST: in each stage;
# PATE: its teachers and its student). Times are those of the frozen-feature head, as in the paper;
# features are not counted.

# %%
def timed(name, epsilon, **settings):
    return base.with_(**recipes.arm(name, epsilon, epochs=timing_epochs, **settings))


alone = {
    "undefended": timed("undefended", None, lr=0.01),
    "DP-SGD": timed("DP-SGD", 2.0, lr=0.03),
    **{
        name: timed(name, 1.0, lr=tried[0][1], **extra.get(name, {}))
        for name, tried in rates.items()
    },
    "PATE": base.with_(defence=pate, training=Training(**student)),
}
# training seeds of their own, for which no teachers are known
timed_runs = [(name, one.with_(init_seed=1000 + one.attack_seed))
              for name, start in alone.items()
              for one in instances(start, pairs[:timing_pairs])]
timing = run([one for _, one in timed_runs], alone=True)
timing["method"] = [name for name, _ in timed_runs]
shown = timing.groupby("method", sort=False, as_index=False)["seconds"].mean()
shown["times undefended"] = shown["seconds"] / shown["seconds"].iloc[0]
figures.table(
    shown,
    id="perfect-times",
    caption=(
        "Seconds of one training alone (published, on another machine: DP-SGD 140, PATE 220, ALIBI"
        " 59, LP-2ST 58)."
    ),
)

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold. *Fails*
# needs the interval on the other side and the positive control (the undefended backdoor) passed.
# R13 was **amended** on 2026-11-21, when some of the study's rows existed: the last column is the
# verdict as first frozen, on today's rows.

# %% tags=["nbval-check-output"]
rows = study.together([scan, timing])
judged = verdicts.table(verdicts.evaluate({"15_perfect_defence": rows}))
judged = judged[judged["notebook"].eq("15_perfect_defence")]
print(
    judged[["id", "direction", "size", "measured", "interval", "n", "as first frozen"]].to_string(
        index=False
    )
)

# %% [markdown]
# ## What it means
# **Nothing reaches an attack success of 1%, and nothing could:** clean models of these defences
# call 6 to 16% of the stamped base-class images target anyway. Above that natural rate every
# setting leaves three points or more. By lift, which no confusion of classes touches, two qualify:
# PATE without noise (.3 points with a threshold of 100 votes, at 47% accuracy and without a
# guarantee) and ALIBI at a label epsilon of .5 (.5 points, 44%). LP-2ST leaves 1.2 there, at 32%.
# DP-SGD leaves 8 points even at noise 8 (epsilon .34), at 48% accuracy.
#
# So table 2's order cannot be judged here (R13 needs a setting of each method that stops the
# attack). The paper's features, with an undefended accuracy of 91%, leave more room between the
# trigger and the classes than these; what carries over is that its criterion depends on the pair of
# classes, and that the choice of the reported epsilon was made on test data.
#
# **Times.** Label-DP is not twice as fast as DP-SGD here: 0.73 of its time [0.63, 0.83] for the
# slower of the two. That says nothing about the paper's factor of two, which is the cost of
# per-sample gradients by hooks: in closed form DP-SGD costs little more than plain SGD. R13's size
# is not testable here. PATE is the cheapest: its 200 teachers share one pass over the data, in
# coefficients of their few images. Two runs a method, one process each beside another one: ratios,
# not seconds.
#
# ## What to try next
# Change `epsilons`, `allowed` or `fraction` in the parameters cell and run again: known rows are
# read, missing ones are trained.
