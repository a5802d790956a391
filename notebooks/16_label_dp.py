# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Label differential privacy against a backdoor
# *At epsilon 1 LP-2ST's attack success is the relabelled half of the class, not the trigger: a
# sharp prior turns one into the other.*
#
# Razmi et al., appendix B.1 and B.2: figure 5a to 5c (LP-2ST over temperature, split and epsilon),
# figure 6 (ALIBI over its noise) and claims R9 and R14. Then why LP-2ST's attack success falls,
# which a randomised label alone cannot explain.

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
# epsilon and learning rate, from notebook 13
rates = {"LP-2ST": [[1.0, 0.001], [4.0, 0.003]], "ALIBI": [[1.0, 0.01], [4.0, 0.01]]}
epsilon = 1.0  # figure 5a, 5b and the controls
temperature = 0.1  # figure 5b, 5c and the controls (table 6)
tuned_temperature = 0.5  # the last part: chosen in notebook 13
temperatures = [0.1, 0.3, 1.0]  # figure 5a
wide_split = [0.8, 0.2]  # figure 5a
split = [0.4, 0.6]  # elsewhere: shares of the records in the two stages (table 6)
splits = [0.2, 0.4, 0.6, 0.8, 1.0]  # figure 5b: share of the first stage
epsilons = [0.5, 1.0, 2.0, 4.0]  # figure 5c and 6, with no noise as the last place
figure_fraction = 0.5  # poisoned share of the base class, as published
figure_pairs = [[0, 8], [1, 9], [2, 4]]  # base and target classes of the figures' instances
fraction = 0.1  # poisoned share of the base class in the last part
# its instances
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]
mnist_epsilons = [1.0, 2.0, 4.0]  # the check on clean MNIST; an empty list leaves it out
# table 5
mnist = {
    "dataset": "mnist", "train_size": 60000, "epochs": 10, "rates": {"LP-2ST": 0.03, "ALIBI": 0.03},
    "temperature": 0.5, "split": [0.5, 0.5]
}

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run.

# %%
import pandas as pd

from lib import figures, study, verdicts
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.goals import parts
from lib.study import Run, instances, recipes, run, worlds
from lib.training import Training

# %% [markdown]
# ## Figure 5: LP-2ST
# Stage 1 randomises the labels of its records and trains; its model, sharpened by a temperature, is
# the prior with which the labels of stage 2 are randomised: only the k likeliest labels can come
# out. A split of 100/0 is plain randomised response.

# %%
base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public,
           features=features, model=model, precision=precision,
           attack=BadNets(fraction=figure_fraction))


def lp2st(budget=epsilon, **settings):
    chosen = {"temperature": temperature, "split": tuple(split)} | settings
    return base.with_(**recipes.arm("LP-2ST", budget, lr=recipes.tuned(
        dict(rates["LP-2ST"]), budget), epochs=epochs, **chosen))


def alibi(budget):
    return base.with_(**recipes.arm("ALIBI", budget, lr=recipes.tuned(dict(rates["ALIBI"]), budget),
                                    epochs=epochs))


# %% [markdown]
# Each point on all pairs of the figure.

# %%
def shares(first):
    return (1.0,) if first == 1 else (first, round(1 - first, 6))


plain = run(
    instances(base.with_(training=Training(**undefended), defence=DPSGD(0.0, clip=False)),
              figure_pairs))
figure5a = run(one for t in temperatures
               for one in instances(lp2st(temperature=t, split=tuple(wide_split)), figure_pairs))
figure5b = run(
    one for first in splits for one in instances(lp2st(split=shares(first)), figure_pairs))
figure5b["first stage"] = [first for first in splits for _ in figure_pairs]
figure5c = run(
    one for budget in [*epsilons, None] for one in instances(lp2st(budget), figure_pairs))
share = "attack success, lift\n[% of base-class test images]"


def beside(frame):
    """Attack success and lift as two lines of one panel."""
    return pd.concat(
        [frame.assign(series="attack success"),
         frame.assign(series="lift", success=frame["lift"])])


axes = [
    dict(frame=figure5a, x="defence.temperature", xlabel="temperature of the prior", xscale="log"),
    dict(frame=figure5b, x="first stage", xlabel="share of the first stage"),
    dict(frame=figure5c, x="epsilon", xlabel="epsilon (label)", xscale="log")
]
figure = figures.panels([axis | dict(y="accuracy") for axis in axes] + [
    axis | dict(frame=beside(axis["frame"]), y="success", series="series", ylabel=share)
    for axis in axes
], columns=3)
figures.show(
    figure,
    id="razmi-F5",
    data=study.tidy([figure5a, figure5b, figure5c]),
    caption=(
        f"Figure 5 of Razmi et al.: LP-2ST over temperature (split {wide_split}), over the split"
        f" and over epsilon; accuracy, attack success and lift, {figure_fraction:.0%} of the base"
        f" class poisoned, {len(figure_pairs)} pairs, epsilon {epsilon:g} in the first two columns."
    ),
    alt=(
        "Six panels: accuracy, and attack success with lift, of LP-2ST over the temperature, the"
        " split and epsilon."
    ),
)

# %% [markdown]
# The paper picks temperature and split by accuracy and attack success on test images of the one
# attack that it then reports.
# What that buys: for each pair, accuracy minus attack success at the setting that is best on this
# very pair, and at the one that is best on the other pairs, among all settings of figure 5a and 5b.
# The difference is what choosing on the test set adds to a report, and a defender who does not know
# the attack gets the second.

# %%
tried = study.together([figure5a, figure5b])
tried["setting"] = [
    f"temperature {t:g}, split {s}"
    for t, s in zip(tried["defence.temperature"], tried["defence.split"])
]
tried["score"] = tried["accuracy"] - tried["success"]
scores = tried.pivot_table(index="attack_seed", columns="setting", values="score")
chosen = []
for pair, own in scores.iterrows():
    elsewhere = scores.drop(index=pair).mean().idxmax()
    chosen.append({
        "pair": f"{figure_pairs[pair][0]} to {figure_pairs[pair][1]}",
        "best on this pair": own.idxmax(), "score": own.max(), "best on the others": elsewhere,
        "its score here": own[elsewhere], "optimism": own.max() - own[elsewhere]
    })
if chosen:
    figures.table(
        pd.DataFrame(chosen),
        id="label-oracle",
        caption=(
            f"Choosing LP-2ST's setting at epsilon {epsilon:g} on the reported attack itself, and"
            " on the other pairs (score: accuracy minus attack success)."
        ),
    )

# %% [markdown]
# ## Figure 6: ALIBI
# Laplace noise on one-hot labels, drawn once; every step trains against the posterior that the
# noisy label and the model's own prediction make together. The axis is the noise's standard
# deviation, 2 sqrt(2) / epsilon.

# %%
figure6 = run(one for budget in [*epsilons, None] for one in instances(alibi(budget), figure_pairs))
figure6["noise"] = (8**0.5 / figure6["defence.epsilon"].astype(float)).fillna(0.0)
figure = figures.panels([
    dict(frame=figure6, x="noise", y=y, xlabel="standard deviation of the label noise",
         second_axis="epsilon") for y in ("accuracy", "success", "lift")
])
figures.show(
    figure,
    id="razmi-F6",
    data=study.tidy([figure6]),
    caption=(
        f"Figure 6 of Razmi et al.: ALIBI over its label noise, {figure_fraction:.0%} of the base"
        f" class poisoned, {len(figure_pairs)} pairs."
    ),
    alt=(
        "Three panels: accuracy, attack success and lift of ALIBI over the standard deviation of"
        " its label noise."
    ),
)

# %% [markdown]
# ## Why does LP-2ST's attack success fall?
# A randomised label moves from the target to every other class, and from every class to the target:
# to a learner that weighs evidence, the trigger means the target as much as before. So the fall
# must come from elsewhere. With a sharp prior k is
# 1 for many records: the label in stage 2 is then stage 1's top guess, and does not depend on the
# poisoned label at all.
# The controls: k = 1 for every record; a prior that knows the true label; plain randomised response
# (the same epsilon, no prior; symmetric noise of the same strength is the same distribution); and
# the released code's score, which divides by one label too few and so prefers k = 1.

# %%
controls = {
    "LP-2ST": lp2st(), "as released": lp2st(as_released=True), "k = 1 throughout": lp2st(top=1),
    "prior knows the truth": lp2st(prior="truth"), "warm start off": lp2st(warm_start=False),
    "stage 1 alone (100/0)": lp2st(split=(1.0, )), "randomised response": base.with_(
        **recipes.arm("randomised response", epsilon, lr=recipes.tuned(
            dict(rates["LP-2ST"]), epsilon), epochs=epochs)), "ALIBI": alibi(epsilon)
}
compared = run(one for start in controls.values() for one in instances(start, figure_pairs))
compared["control"] = [name for name in controls for _ in figure_pairs]
columns = {
    "facts.k1_records": "records with k = 1", "facts.k1_poisons": "poisons with k = 1",
    "facts.kept_labels_poisons": "poisons trained as target",
    "facts.restored_labels_poisons": "poisons trained as base",
    "facts.label_accuracy": "labels right", "accuracy": "accuracy",
    "floor": "target without trigger", "success": "attack success", "lift": "lift"
}
shown = study.means(compared, by="control", columns=columns)
figures.table(
    shown,
    id="label-controls",
    missing="–",
    caption=(
        f"Controls at epsilon {epsilon:g}, means over {len(figure_pairs)} pairs,"
        f" {figure_fraction:.0%} of the base class poisoned. 95% t intervals over pairs. Shares of"
        " k are of stage 2; labels are those trained on."
    ),
)

# %% [markdown]
# ## A tenth of the base class, and the world that label-DP compares with
# The guarantee of a label-private method says nothing about images. It compares the attacked model
# with one trained on the same stamped images under their true labels (T), not with a clean one (C).
# Ten pairs, world T for the first of them.

# %%
start = {
    "undefended": base.with_(training=Training(**undefended), defence=DPSGD(0.0, clip=False)),
    "LP-2ST": lp2st(temperature=tuned_temperature), "ALIBI": alibi(epsilon)
}
cases = [(name, one)
         for name, one in start.items()
         for instance in instances(one.with_(attack=BadNets(fraction=fraction)), pairs)
         for one in worlds(
             instance,
             "PLTC" if name != "undefended" and instance.attack_seed < len(figure_pairs) else "PLC")
         ]
tenth = run(one for _, one in cases)
tenth["method"] = [name for name, _ in cases]
with_parts = parts(tenth)
figures.show(
    figures.parts_bars(with_parts, label="method"),
    id="label-parts",
    data=study.tidy([with_parts]),
    caption=(
        f"Attack success and its parts, {fraction:.0%} of the base class poisoned, epsilon"
        f" {epsilon:g}, {len(pairs)} pairs."
    ),
    alt=(
        "Stacked bars of natural confusion, collateral damage and lift for the undefended model,"
        " LP-2ST and ALIBI."
    ),
)

# %% [markdown]
# Attack success by training world: what the guarantee bounds is P against T. The bound itself is
# for k labels at once, and empty from a handful on.

# %%
first = tenth[tenth["attack_seed"] < len(figure_pairs)]
by_world = first.groupby(["method", "world"], sort=False)[["accuracy", "floor",
                                                           "success"]].mean().reset_index()
figures.table(
    by_world.rename(columns={"floor": "target without trigger", "success": "target with trigger"}),
    id="label-worlds",
    caption=(
        f"Means over the first {len(figure_pairs)} pairs by training world: P stamped and"
        " relabelled, L relabelled, T stamped, C clean."
    ),
)

# %% [markdown]
# ## Are the methods themselves right?
# On clean MNIST with the small network, against the accuracies that others published: Ghazi et al.
# 2021 for LP-2ST (95.82, 98.78 and 99.24% at epsilon 1, 2 and 4; longer training, mixup), and the
# re-runs in LabelDP-Pro (ICLR 2024): ALIBI 94.1 and 96.6%, LP-2ST 83.3 and 96.8% at 1 and 2. Ours
# train for fewer epochs, without mixup and on the 50,000 private images.

# %%
clean = Run(dataset=mnist["dataset"], train_size=mnist["train_size"], test_size=test_size,
            public=public, features="none", model="cnn", precision=precision, attack=BadNets(
                stamp=False, relabel=False))
sanity_arms = [(name, budget,
                recipes.arm(
                    name, budget, lr=mnist["rates"][name], epochs=mnist["epochs"],
                    **({"temperature": mnist["temperature"], "split": tuple(mnist["split"])}
                       if name == "LP-2ST" else {})))
               for name in ("LP-2ST", "ALIBI")
               for budget in mnist_epsilons]
sanity = run(clean.with_(**arm) for _, _, arm in sanity_arms)
sanity["method"], sanity["ε (label)"] = [name for name, _, _ in sanity_arms], [
    budget for _, budget, _ in sanity_arms
]
if len(sanity):
    figures.table(sanity[["method", "ε (label)", "accuracy"]], id="label-mnist",
                  caption="Clean accuracy on MNIST, one run each.")

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold. *Fails*
# needs the interval on the other side and the positive control (the undefended backdoor) passed.
# R14 was **amended** on 2026-11-21, when some of the study's rows existed: the last column is the
# verdict as first frozen, on today's rows.

# %% tags=["nbval-check-output"]
rows = study.together([plain, figure5a, figure5b, figure5c, figure6, compared, tenth])
judged = verdicts.table(verdicts.evaluate({"16_label_dp": rows}))
judged = judged[judged["notebook"].eq("16_label_dp")]
print(
    judged[["id", "direction", "size", "measured", "interval", "n", "as first frozen"]].to_string(
        index=False
    )
)

# %% [markdown]
# ## What it means
# **A sharp prior does not save the base class.** At half of the base class, epsilon 1, temperature
# .1 and split 40/60, 72% of the stamped images are called target, at 44% accuracy. But 64% of the
# *unstamped* ones are too; the trigger's lift is 8 points (80 without noise). Over the temperatures
# 1, .3 and .1 (split 80/20) accuracy stays (49, 51, 49%) and attack success rises (68, 72, 74%),
# both unlike figure 5a; what falls is the lift (34, 24, 13 points), and the floor rises by more.
#
# The paper explains the fall by a prior that picks the base class. Here 65% of the poisons in stage
# 2 have k = 1, so that their label is stage 1's guess, and still 1.5% of all poisons are trained as
# base and 50% as target: a model that learnt from a class with half of its labels wrong guesses the
# target. k = 1 for every record changes little (lift 6), and so does the released score, which
# prefers k = 1 (71% of the records, against 52%). With a prior that knows the truth 61% of the
# poisons are trained as base, and the attack is gone (lift -13). So it is the prior that replaces
# the poisoned labels, as supposed, but by its own errors.
#
# **Without a prior the trigger survives better:** randomised response alone has a lift of 24 points
# at epsilon 1, ALIBI 38 and more accuracy (54%). At epsilon 4 all of it is back (67 and 79).
# ALIBI's curve has a knee: between epsilon 2 and .5 the lift falls from 67 to 9 points, accuracy
# from 62 to 42%. R14 holds in direction and fails in size, the two shares differ by up to 48 points
# [44, 52].
#
# **At a tenth of the base class** both leave about 5 points of lift at epsilon 1 (undefended 74),
# at 50% (LP-2ST) and 56% accuracy (undefended 72.5%); LP-2ST at epsilon 4 (notebook 13) leaves 56
# at 70%. In world T, which label-DP compares with, stamped images are called target *less* often
# than clean ones: the trigger came with true labels there.
#
# Choosing settings on the reported attack itself adds up to 9 points to accuracy minus attack
# success here. On clean MNIST both methods come near to what others published (ALIBI 95.4% at
# epsilon 1, LP-2ST 84.8%; 98.5 and 98.6% at 4). Noise is drawn from torch's generator as
# floating-point numbers: right for an experiment, not for a release.
#
# ## What to try next
# Change `epsilon`, `temperature` or `split` in the parameters cell and run again: known rows are
# read, missing ones are trained.
