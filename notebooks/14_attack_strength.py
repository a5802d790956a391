# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The strength of the attack
# *At epsilon 1 and a tenth of the class little of the trigger is left, at 12 to 22 points of
# accuracy; at half of it much of it is back.*
#
# Razmi et al., section 7.2: figure 4 (accuracy and attack success over the poisoned share,
# epsilon 1) and claim R12. The paper's axis says share of the training data; the attack relabels a
# share of *one class*, so that 50% is 5% of the data.

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
epsilon = 1.0  # of every method, each in its own sense
# epsilon and learning rate, from notebook 13
rates = {
    "DP-SGD": [[1.0, 0.03], [4.0, 0.1]], "LP-2ST": [[1.0, 0.001], [4.0, 0.003]],
    "ALIBI": [[1.0, 0.01], [4.0, 0.01]]
}
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
threshold = 100.0  # PATE: votes that an answer needs
# PATE: selection and result noise that give epsilon 1 at 10,000 queries
pate_noise = [2160.0, 540.0]
fractions = [0.05, 0.1, 0.3, 0.5]  # poisoned share of the base class
pate_fractions = [0.1, 0.5]  # the same for PATE, which drowns in noise at every share
figure_pairs = [[0, 8], [1, 9], [2, 4]]  # base and target classes of the instances
small = 0.1  # the share up to which the paper says that the attack has no success
# instances at that share
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run.

# %%
from lib import figures, privacy, study, verdicts
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.defences.pate import PATE
from lib.goals import parts
from lib.study import Run, instances, recipes, run, worlds
from lib.training import Training

# %% [markdown]
# ## Figure 4
# One epsilon, four methods, the poisoned share from 1% to 50% of the base class. PATE reaches this
# epsilon by noise, with all public images as queries, as in the paper: the votes then drown.

# %%
base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public,
           features=features, model=model, precision=precision)
extra = {"LP-2ST": {"temperature": temperature, "split": tuple(split)}}
arms = {"undefended": {"defence": DPSGD(0.0, clip=False), "training": Training(**undefended)}}
arms |= {
    name: recipes.arm(name, epsilon, lr=recipes.tuned(dict(tried), epsilon), epochs=epochs,
                      **extra.get(name, {})) for name, tried in rates.items()
}
arms["PATE"] = {
    "defence": PATE(teachers, threshold=threshold, selection_noise=pate_noise[0],
                    result_noise=pate_noise[1], teacher=Training(**teacher)),
    "training": Training(**student)
}
every = privacy.pate_epsilon([[teachers] + [0] * 9] * public, threshold=threshold, delta=1e-5,
                             selection_noise=pate_noise[0], result_noise=pate_noise[1])
print(f"PATE's epsilon with all {public} queries answered: {every:.2f}")

# %% [markdown]
# Every method at every share (PATE at two), on the first pairs.

# %%
cases = [(name, one)
         for name, arm in arms.items()
         for share in (pate_fractions if name == "PATE" else fractions)
         for one in instances(base.with_(attack=BadNets(fraction=share), **arm), figure_pairs)]
figure4 = run(one for _, one in cases)
figure4["series"] = [name for name, _ in cases]
figure = figures.panels([
    dict(frame=figure4, x="attack.fraction", y=y, series="series", xscale="log",
         xlabel="poisoned share of the base class") for y in ("accuracy", "success", "lift")
])
figures.show(
    figure,
    id="razmi-F4",
    data=study.tidy([figure4]),
    caption=(
        "Figure 4 of Razmi et al.: accuracy, attack success and lift over the poisoned share of"
        f" the base class, epsilon {epsilon:g} for every method (label-DP for LP-2ST and ALIBI),"
        f" {len(figure_pairs)} pairs."
    ),
    alt=(
        "Three panels: accuracy, attack success and lift over the poisoned share for the undefended"
        " model, DP-SGD, LP-2ST, ALIBI and PATE."
    ),
)

# %% [markdown]
# ## At a tenth
# The paper's conclusion is for shares up to 10%: no success, at ten points of accuracy. Ten pairs,
# with clean twins and (but for DP-SGD) relabelled ones. Attack success cannot fall to zero where
# the classes are confused anyway (natural), and it can fall *below* what a model that never saw the
# trigger would show (the blind reference, world L): then the trigger does nothing, and what is left
# of the relabelled images does.

# %%
cases = [(name, one) for name, arm in arms.items() if name != "PATE"
         for instance in instances(base.with_(attack=BadNets(fraction=small), **arm), pairs)
         for one in worlds(instance, "PC" if name == "DP-SGD" else "PLC")]
tenth = run(one for _, one in cases)
tenth["series"] = [name for name, _ in cases]
with_parts = parts(tenth)
figures.show(
    figures.parts_bars(with_parts, label="series"),
    id="strength-parts",
    data=study.tidy([with_parts]),
    caption=(
        f"Attack success and its parts at {small:.0%} of the base class, epsilon {epsilon:g},"
        f" {len(pairs)} pairs; the blind reference is a model that saw the same wrong labels and no"
        " trigger."
    ),
    alt=(
        "Stacked bars of natural confusion, collateral damage and lift for the undefended model and"
        " three methods."
    ),
)

# %% [markdown]
# In numbers, with the bound: the most attack success that DP-SGD's guarantee permits at so many
# poisoned images, which the paper calls compatible with its figure. It starts from what DP-SGD's
# models call target on triggered images after *clean* training: the upper end of that rate's 95%
# interval.

# %%
columns = {
    "accuracy": "accuracy", "natural": "natural", "collateral": "collateral", "lift": "lift",
    "effect": "backdoor effect", "success": "attack success", "blind": "blind",
    "trigger_auc": "trigger AUC"
}
shown = study.means(with_parts, by="series", columns=columns,
                    intervals=("lift", "effect", "success"))
below = {
    name: group["success"] < group["blind"]
    for name, group in with_parts[with_parts["blind"].notna()].groupby("series")
}
shown["below blind"] = [
    f"{below[name].sum()} of {len(below[name])}" if name in below else None
    for name in shown["series"]
]
figures.table(
    shown.rename(columns={"series": "method"}),
    id="strength-table",
    missing="–",
    caption=(
        f"Means over {len(pairs)} pairs at {small:.0%} with 95% t intervals, shares of all"
        " base-class test images; below blind: pairs whose attack success is below their blind"
        " reference."
    ),
)
private_size = train_size - public
if private_size > 512:
    caps = privacy.measured_caps(
        tenth[tenth["series"].eq("DP-SGD")],
        n=private_size,
        batch_size=512,
        epochs=epochs,
        poisons=[1, 5, 20, 100],
    )
    figures.table(
        caps,
        id="strength-cap",
        digits=3,
        missing="–",
        caption=(
            "Caps on DP-SGD's attack success by the number k of images poisoned in place"
            " (replace-one, Poisson, PLD), from the measured triggered rate of clean models."
        ),
    )

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold. *Fails*
# needs the interval on the other side and the positive control (the undefended backdoor) passed.
# R12 was **amended** on 2026-11-21, when some of the study's rows existed: the last column is the
# verdict as first frozen, on today's rows.

# %% tags=["nbval-check-output"]
rows = study.together([figure4, tenth])
judged = verdicts.table(verdicts.evaluate({"14_attack_strength": rows}))
judged = judged[judged["notebook"].eq("14_attack_strength")]
print(
    judged[["id", "direction", "size", "measured", "interval", "n", "as first frozen"]].to_string(
        index=False
    )
)

# %% [markdown]
# ## What it means
# **Defence and strength both matter.** At a tenth of the base class, ten pairs, DP-SGD, LP-2ST and
# ALIBI at epsilon 1 take the lift from 74 points to 8.8, 4.9 and 4.7. On three pairs, from 5 to 50%
# of the class their lifts grow from 4.0, 2.4 and 2.5 points to 39, 20 and 38 (33, 17 and 29 at 30%;
# undefended 44 at 5% and 83 at 30%). Clean accuracy hardly moves with the share, as published.
# PATE, at the noise that makes its epsilon 1 with 10,000 queries, is 11% accurate: it answers at
# random.
#
# **R12 holds in direction; its size is open.** All three methods lower the lift at a tenth. Whether
# a twentieth of it or less is left ten pairs do not decide (ALIBI 6.3% [2.1, 10.4]). The price is
# not testable on these features: LP-2ST loses 22.1 [21.5, 22.7] points of accuracy, ALIBI 16 and
# DP-SGD 12.5, where the undefended model has 73% and the paper's 91%. As first frozen, R12 asked
# for an attack success of at most 1%: it stays at 16 to 22%, because a tenth of the stamped images
# is called target by clean models of the same defence too. It was not below the blind reference for
# any pair: what is left of the lift is small, and is the trigger's (backdoor effect 5 to 6 points).
#
# **It is not the bound's doing.** The paper calls its figure compatible with the theory that links
# an attacker's loss to the number of poisons. At this epsilon the sharpest cap, from a clean rate
# of 10% (at most 15%), is 29% for one poisoned image, 92% for five and empty for twenty; the
# smallest attack here has 200. Why the trigger is learnt less is a hypothesis (notebook 11).
#
# ## What to try next
# Change `epsilon` or `fractions` in the parameters cell and run again: known rows are read, missing
# ones are trained.
