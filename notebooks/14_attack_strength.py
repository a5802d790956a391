# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The strength of the attack
# *With a tenth of the class poisoned, DP-SGD at epsilon 1 leaves 9 of 74 points of lift, for 12.5
# points of accuracy; with half of the class poisoned, on three pairs, it leaves 38.8 [16.5, 59.0].*
#
# Razmi et al., section 7.2: figure 4 (accuracy and attack success over the poisoned share, at
# epsilon 1) and claim R12.

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("14_attack_strength")

# %% [markdown]
# ## Method
# The attack stamps and relabels a share $r$ of one class. The paper's axis says share of the
# training data; with ten classes of equal size, half of one class is 5% of the data. Each method is
# held against the undefended model under the same attack (same classes, trigger and poisoned rows).
# What counts is the lift: stamped test images $x'$ called target, minus the same images $x$ without
# the stamp.
#
# $$\Delta_m(r) = \text{lift}_m(r) - \text{lift}_{\text{undefended}}(r), \qquad
# \text{lift} = \Pr[f(x') = \text{target}] - \Pr[f(x) = \text{target}]$$

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
pate_fractions = [0.1, 0.5]  # poisoned shares for PATE, which drowns in noise at every share

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing.

# %% tags=["parameters"]
# a name of lib.data: strokes, mnist, cifar10, cifar10-jpeg, imagefolder:PATH
dataset = "cifar10-jpeg"
features = "patches"  # none (pixels), patches, resnet-public, imagenet-resnet50
model = "head"  # cnn, head, mlp, linear, or my_file.py:function
epochs = 20  # passes over the private images (LP-2ST: in each stage)
epsilon = 1.0  # of every method, each in its own sense
# epsilon and learning rate, from notebook 13
rates = {
    "DP-SGD": [[1.0, 0.03], [4.0, 0.1]], "LP-2ST": [[1.0, 0.001], [4.0, 0.003]],
    "ALIBI": [[1.0, 0.01], [4.0, 0.01]]
}
fractions = [0.05, 0.1, 0.3, 0.5]  # poisoned share of the base class
figure_pairs = [[0, 8], [1, 9], [2, 4]]  # base and target classes of the instances
small = 0.1  # the share up to which the paper says that the attack has no success
# instances at that share
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]

# %% [markdown]
# Five methods: the undefended model, DP-SGD, two that protect labels alone, and PATE. All but the
# first have the same epsilon; for LP-2ST and ALIBI it is label-DP.

# %%
from lib import figures, privacy, study, verdicts
from lib.papers.razmi import arms, figure4
from lib.study import Run, run

base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public,
           features=features, model=model, precision=precision)
methods = {"undefended": arms.undefended(undefended)} | arms.at_epsilon(
    rates, epsilon, epochs=epochs, lp2st=arms.lp2st(temperature, split))
pate = {"PATE": arms.pate(teachers, teacher=teacher, student=student, threshold=threshold,
                          selection_noise=pate_noise[0], result_noise=pate_noise[1])}

# %% [markdown]
# PATE reaches this epsilon by noise, with all public images as queries, as in the paper: the votes
# then drown, whatever share is poisoned.

# %%
every = privacy.pate_epsilon([[teachers] + [0] * 9] * public, threshold=threshold, delta=1e-5,
                             selection_noise=pate_noise[0], result_noise=pate_noise[1])
print(f"PATE's epsilon with all {public} queries answered: {every:.2f}")

# %% [markdown]
# ## Figure 4: the attack from weak to strong
# The paper finds no attack success up to a tenth, and more beyond. Every method is trained at every
# share (PATE at two), on three pairs of classes. Less attack success and less lift are better.

# %%
shares = arms.named(run(figure4.over_shares(base, methods, fractions, figure_pairs)
                        + figure4.over_shares(base, pate, pate_fractions, figure_pairs)))
figure = figures.panels([
    dict(frame=shares, x="attack.fraction", y=y, series="series", xscale="log",
         xlabel="poisoned share of the base class") for y in ("accuracy", "success", "lift")
])
figures.show(
    figure, id="razmi-F4", data=study.tidy([shares], only=[
        "series", "attack.fraction", "pair", "accuracy", "success", "lift"]),
    caption=("Figure 4 of Razmi et al.: clean accuracy, attack success and lift over the poisoned"
             f" share of the base class, at epsilon {epsilon:g} (label-DP for LP-2ST and ALIBI),"
             f" {len(figure_pairs)} pairs (mean, and the range of the pairs)."),
    alt=("Three panels: accuracy, attack success and lift over the poisoned share for the"
         " undefended model, DP-SGD, LP-2ST, ALIBI and PATE."),
)

# %% [markdown]
# Lift in numbers. With three pairs the intervals are wide.

# %%
figures.table(
    figure4.lifts(shares), id="strength-lifts", missing="–",
    caption=("Lift in percentage points by poisoned share of the base class, mean"
             f" [95% t interval] over {len(figure_pairs)} pairs."),
)

# %% [markdown]
# ## At a tenth
# The paper's conclusion is for shares up to a tenth: no success, for ten points of accuracy. Here
# are ten pairs, each method against the undefended model on the same pair. Left of zero, less of
# the trigger is left.

# %%
tenth = run(figure4.at_share(base, methods, small, pairs), like=base)
attacked = figure4.parts(tenth)
apart = figure4.differences(attacked)
figures.show(
    figures.contrasts(apart, by="method", better="lower",
                      xlabel="lift of the method, minus lift without a defence",
                      sides=("the defence removes", "it adds")),
    id="strength-paired", data=study.tidy([apart]), finding=figure4.finding(apart),
    caption=(f"Paired difference in lift, {small:.0%} of the base class poisoned, epsilon"
             f" {epsilon:g}: {len(pairs)} pairs of classes (dots), mean and 95% t interval."),
    alt="Forest plot: for each of three methods its lift minus that of the undefended model.",
)

# %% [markdown]
# What attack success is made of. *Natural* is what a clean model of the same method calls target
# without a stamp; *collateral* is what poison adds to that; lift is the rest. The *blind* reference
# is a model that saw the same wrong labels and no trigger, tested on stamped images; the *backdoor
# effect* is lift minus the lift of that model.

# %%
figures.table(
    figure4.table(attacked), id="strength-table", missing="–",
    caption=(f"Means over {len(pairs)} pairs at {small:.0%} with 95% t intervals, shares of all"
             " base-class test images; below blind: pairs whose attack success is below their"
             " blind reference (not measured for DP-SGD)."),
)

# %% [markdown]
# ## What the guarantee says
# The paper calls its figure compatible with the theory that links an attacker's loss to the number
# of poisons. The cap is the most attack success that DP-SGD's guarantee permits. It starts from
# what DP-SGD's models call target on triggered images after *clean* training: the upper end of that
# rate's 95% interval.

# %%
caps = privacy.measured_caps(arms.of(arms.named(tenth), ["DP-SGD"]), n=train_size - public,
                             batch_size=512, epochs=epochs, poisons=[1, 5, 20, 100])
figures.table(
    caps, id="strength-cap", digits=3, missing="–",
    caption=("Caps on DP-SGD's attack success by the number k of images poisoned in place"
             " (replace-one, Poisson, PLD), from the measured triggered rate of clean models."),
)

# %% [markdown]
# ## Published against measured
# Each verdict compares a statistic and its 95% interval over attack instances with a threshold.
# *Fails* needs the interval on the other side and the positive control (the undefended backdoor)
# passed. R12 was amended when some of the study's rows existed; beside it is the verdict as first
# frozen, on today's rows.

# %% tags=["nbval-check-output"]
verdicts.show("14_attack_strength", study.together([shares, tenth]))

# %% [markdown]
# ## What it means
# **A weak attack is mostly stopped.** At a tenth of the class, DP-SGD changes the lift by -65.3
# points [-73.2, -57.4]; LP-2ST changes it by -69.2 and ALIBI by -69.4 (figure above). R12 holds in
# direction.
#
# **Its size is open.** R12 asks for a twentieth of the lift or less. ALIBI leaves 6.3% [2.1, 10.4]:
# ten pairs do not decide. First frozen, it asked for an attack success of at most 1%. All three
# stay at 16 to 22%, of which 9 to 11 points are what clean models of the same method call target
# without any stamp.
#
# **What is left is the trigger's doing.** ALIBI's backdoor effect is 5.2 points [2.9, 7.5], and
# attack success is not below the blind reference for any pair.
#
# **The price is more than ten points here.** DP-SGD loses 12.5 [12.2, 12.8] points of accuracy,
# and the other two more (table above). That does not test the paper's price: its features are 91%
# accurate without a defence, these 73%.
#
# **A strong attack comes back.** On three pairs, from a tenth to half of the class DP-SGD's lift
# grows by 30.9 points [2.4, 58.7] and ALIBI's by 32.4 [7.6, 56.8]. LP-2ST's grows by 15.0 [-13.9,
# 43.5], which leaves the sign open. Even at half each method is below the undefended model: DP-SGD
# by 44.0 [23.6, 64.0].
#
# **The bound does not explain it.** At this epsilon the cap is 30% for one poisoned image, 92% for
# five and empty for twenty (table above); the smallest attack here has 200. Why the trigger is
# learnt less is a question for notebooks 11 and 64.
#
# **PATE answers at random.** With the noise that makes its epsilon 1 for 10,000 queries it is 11%
# [9, 14] accurate: as good as a guess among ten classes. Its lift of 2.9 points [-3.8, 9.6] says
# nothing about PATE.
#
# ## What to try next
# Change `epsilon` or `fractions` in the parameters cell and run again: known rows are read, missing
# ones are trained.
