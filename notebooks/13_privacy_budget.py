# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The privacy budget: four methods at equal epsilon, and at equal accuracy
# *Of ten settings none leaves measurably less of the backdoor than plain SGD stopped as accurate,
# once ten comparisons are corrected for; DP-SGD at noise 1 leaves 15.5 points more [10.6, 20.4].*
#
# Razmi et al., section 7.1: figure 3a to 3f (accuracy and attack success of DP-SGD, PATE, LP-2ST
# and ALIBI over epsilon), claims R9, R10 and R11. Our own question: what is left of the backdoor
# **at equal clean accuracy**, method by method?

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("13_privacy_budget")

# %% [markdown]
# ## Method
# Each method is tuned on clean data, trained on several pairs of classes (a part of one class is
# stamped with a trigger and labelled as another), and read in two ways: over its epsilon, as the
# paper does, and beside plain SGD at the moment when that was first as accurate. **Lift** is the
# trigger's own work: attack success minus the share called target without the trigger. For a
# defence $D$ of accuracy $a_D$ and a path of plain SGD over its steps $t$ we report
#
# $$\text{lift}(D) - \text{lift}(\text{SGD}_{t^*}), \qquad
# t^* = \min\{t : \text{accuracy}(\text{SGD}_t) \ge a_D\}$$

# %% [markdown]
# ## Set-up and parameters
# First what a reader seldom changes. `papermill` and the files of `params/` can set any name of
# both cells.

# %% tags=["setup"]
# what figure 3 is drawn for; the first one also makes the comparison at equal accuracy
setups = [{
    "dataset": "cifar10-jpeg", "train_size": 50000, "test_size": 10000, "public": 10000,
    "features": "patches", "model": "head", "epochs": 20, "teacher_epochs": 20, "undefended": {
        "optimizer": "sgd", "lr": 0.01, "epochs": 50, "batch_size": 512, "checkpoints": 16
    }, "rates": {
        "DP-SGD": [0.01, 0.03, 0.1, 0.3], "LP-2ST": [0.0003, 0.001, 0.003, 0.01],
        "ALIBI": [0.003, 0.01, 0.03], "PATE": [0.01, 0.03, 0.1, 0.3]
    }
}, {
    "dataset": "mnist", "train_size": 60000, "test_size": 10000, "public": 10000,
    "features": "none", "model": "cnn", "epochs": 6, "teacher_epochs": 20,
    "undefended": {"optimizer": "adam", "lr": 0.001, "epochs": 8, "batch_size": 128}, "rates": {
        "DP-SGD": [0.1, 0.3, 1.0], "LP-2ST": [0.01, 0.03, 0.1], "ALIBI": [0.03, 0.1, 0.3],
        "PATE": [0.01, 0.03, 0.1]
    }
}, ]
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never
tuned_at = [1.0, 4.0]  # epsilons of the tuning; the nearer one serves each other epsilon
temperatures = [0.1, 0.5]  # LP-2ST: tried in the tuning
split = [0.4, 0.6]  # LP-2ST: shares of the records in its two stages (table 6)
# PATE: standard deviations of selection and result noise in votes (table 6)
pate_noise = [100.0, 25.0]
# DP-SGD at equal accuracy: noise multiplier and its learning rate, from one tuning draw
noise_levels = [[1.0, 0.1], [2.0, 0.03], [4.0, 0.03]]
noise_epochs = 50  # and its epochs
figure_fraction = 0.5  # poisoned share of the base class in figure 3, as published

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing.

# %% tags=["parameters"]
pairs = {  # base and target classes; the first `figure_pairs` of them are figure 3's instances
    "cifar10-jpeg": [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1],
                     [9, 6]],
    "mnist": [[7, 1], [1, 4], [4, 9]],
}
figure_pairs = 3  # attack instances of figure 3
# figure 3, with no noise at all as the last place
epsilons = {"cifar10-jpeg": [0.5, 1.0, 2.0, 4.0], "mnist": [1.0, 4.0]}
teachers = 200  # PATE: models on disjoint blocks of the private images
threshold = 100  # PATE: votes that an answer needs (the paper: 180 and 150)
noise_factors = [0.4, 1.0, 4.0]  # PATE (noise): times pate_noise, all public images as queries
query_counts = [100, 1000]  # PATE (queries): at pate_noise
fraction = 0.1  # poisoned share of the base class at equal accuracy
levels = [1.0, 4.0]  # epsilons of LP-2ST and ALIBI there
private_noise = [100.0, 40.0]  # PATE, private: selection and result noise there
private_queries = 1000  # and its queries

# %% [markdown]
# ## Tuning, before any attack
# For clean accuracy on a held-out tenth of the private images, at two epsilons (what suits weak
# noise fits the noise itself where it is strong). PATE is tuned by its teachers' learning rate,
# without noise. The paper chose its settings (tables 5 and 6) for accuracy and attack success
# together, which assumes that the defender knows the attack.

# %%
from lib import figures, study, verdicts
from lib.goals import parts
from lib.papers.razmi import all_methods, candidates, figure3
from lib.study import run

methods = candidates.Methods(precision=precision, teachers=teachers, split=split)
tuning = run(methods.tried(setups, epsilons=tuned_at, temperatures=temperatures))
choices = candidates.chosen(tuning)

# %% [markdown]
# The best candidate of each method and epsilon is used below.

# %%
figures.table(
    candidates.table(tuning), id="budget-tuning", missing="–",
    caption=("Chosen in one tuning draw, with clean accuracy on the held-out tenth (PATE: without"
             " noise) and that of the next best candidate; a rate at an end of those tried may not"
             " be the best there is."),
)

# %% [markdown]
# ## What the paper's epsilon of DP-SGD depends on
# The paper does not say how batches are drawn. Its noise in figure 1c (5.6, batches of 512, 50
# epochs, 50,000 images) is worth an epsilon of 0.45 if every record joins each batch independently,
# and of 5.75 if each epoch is a shuffled pass: no amplification by sampling that would close this
# gap is proven for shuffling.

# %%
figures.table(
    figure3.samplers(), id="budget-samplers",
    caption=("Epsilon at delta 1e-5 of the same training (noise multiplier 5.6, sampling rate"
             " 1/98, 4,900 steps), by sampler and adjacency (PLD; shuffled: exact Gaussian)."),
)

# %% [markdown]
# ## Figure 3
# Half of the base class is poisoned, as published. Epsilons are of three kinds: DP-SGD's is
# add-remove (Poisson, PLD), PATE's replace-one (exact Gaussian composition, every query counted as
# answered), and those of LP-2ST and ALIBI protect a label and no image. They share an axis because
# the paper's figure does; ∞ is no noise, hence no guarantee. Learning rates were tuned at two
# epsilons, and each other epsilon takes the nearer one's. Where a line jumps between them (DP-SGD
# at epsilon 4), the rate changes too.

# %%
by_dataset = {}
for setup in setups:
    name = setup["dataset"]
    settings = [
        *figure3.budgets(methods, setup, choices, epsilons=epsilons[name]),
        *figure3.votes(methods, setup, choices, threshold=threshold, noise=pate_noise,
                       factors=noise_factors, queries=query_counts),
        methods.undefended(setup),
    ]
    by_dataset[name] = figure3.named(run(candidates.attacked(
        settings, pairs[name][:figure_pairs], fraction=figure_fraction)))

# %% [markdown]
# Accuracy should stay high and attack success low as epsilon falls.

# %%
for name, frame in by_dataset.items():
    over, _ = figure3.panel_letters(frame)
    figures.show(
        figures.panels(figure3.panels(frame)), id=f"razmi-F3-{name}",
        data=study.tidy([figure3.defended(frame)], only=[
            "series", "epsilon", "attack.base", "attack.target", "accuracy", "success"]),
        caption=(f"Figure {over} of Razmi et al. on {name}: accuracy and attack success over"
                 f" epsilon, {figure_fraction:.0%} of the base class poisoned, {figure_pairs}"
                 " pairs (means; vertical: from the least to the greatest), delta 1e-5."),
        alt=("Two panels of lines for five methods: clean accuracy and attack success over epsilon,"
             " with no noise at the right."),
        finding=figure3.corner(frame),
    )

# %% [markdown]
# The same runs in the plane of accuracy and attack success (figure 3c and 3f). A setting is on the
# front if no other is better in both; right and down is better.

# %%
for name, frame in by_dataset.items():
    plane = figures.pareto(frame, y="success")
    _, letter = figure3.panel_letters(frame)
    figures.show(
        figures.tradeoff(frame, y="success"), id=f"razmi-F{letter}", data=plane,
        caption=(f"Figure {letter} of Razmi et al. on {name}: clean accuracy against attack"
                 f" success, means over {figure_pairs} pairs; faint: not on the front."),
        alt=("Points of five methods in the plane of clean accuracy and attack success, with the"
             " front of settings that no other dominates."),
    )

# %% [markdown]
# ## Every method at a tenth of the base class
# Each setting with its clean twin. A guarantee compares the attacked training with another one:
# that of DP-SGD and PATE with clean data, that of the label-private methods with the same stamped
# images under their true labels. PATE's covers its teachers' private images alone: this attack
# stamps PATE's public pool too, and no epsilon covers that.

# %%
first = setups[0]
shown = pairs[first["dataset"]]
settings = [
    methods.undefended(first),
    *all_methods.noisy(methods, first, noise_levels, epochs=noise_epochs),
    *all_methods.label_private(methods, first, choices, epsilons=levels),
    *all_methods.votes(methods, first, choices, threshold=threshold, noise=private_noise,
                       queries=private_queries),
]
tenth = all_methods.named(run(all_methods.with_twins(
    candidates.attacked(settings, shown, fraction=fraction))))

# %% [markdown]
# ### Does a defence buy anything beyond stopping early?
# Lift minus the lift of plain SGD when it first was as accurate, pair by pair. It is *one* path of
# plain SGD, at the rate that won a tuning by 0.3 points, and each method has one tuned rate.
# Notebook 11 shows on other features that the learning rates of both sides decide the sign for
# DP-SGD, and notebook 64 why: what is left grows with rate times steps.

# %%
figures.table(
    all_methods.readings(tenth), id="budget-differences", missing="–",
    caption=("Lift of each setting, of plain SGD when it first was as accurate, and their paired"
             " difference, in points; beside it the difference in trigger AUC (the chance that a"
             " stamped image looks more like the target than an unstamped one), in hundredths."
             " More, less: the 95% t interval over pairs excludes zero; uncorrected: but not after"
             " Holm's correction over these settings."),
)

# %% [markdown]
# ### What it costs
# Every setting in the plane of accuracy and lift, and what the same accuracy leaves along plain
# SGD's training (thick).

# %%
with_parts = parts(tenth)
ends = all_methods.plane(all_methods.defended(with_parts))
figures.show(
    figures.by_setting(ends, series="series", along="setting",
                       references={"plain SGD": all_methods.path(tenth)}),
    id="budget-plane", data=study.means(ends, by=["series", "setting"], intervals=(), columns={
        "accuracy": "accuracy", "lift": "lift"}),
    caption=("Clean accuracy and lift of every method at its settings (numbers), and of plain SGD"
             f" along its training, {fraction:.0%} of the base class poisoned, means over"
             f" {len(shown)} pairs."),
    alt=("Points of four methods in the plane of clean accuracy and lift beside the path of plain"
         " SGD."),
    finding=all_methods.least(with_parts),
)

# %% [markdown]
# The same in numbers, with attack success and epsilon.

# %%
figures.table(
    all_methods.table(with_parts), id="budget-table", missing="–",
    caption=(f"All methods: {fraction:.0%} of the base class poisoned, means over {len(shown)}"
             " pairs with 95% t intervals, shares of all base-class test images; epsilons at delta"
             " 1e-5, accounted as in figure 3."),
)

# %% [markdown]
# Attack success is more than the trigger's work: some images are confused by any model (natural),
# more once labels are changed (collateral).

# %%
figures.show(
    figures.parts_bars(with_parts, label="arm"), id="budget-parts",
    data=study.tidy([with_parts], only=["arm", "attack.base", "attack.target", "natural",
                                        "collateral", "lift", "success"]),
    caption=(f"Attack success and its parts, {fraction:.0%} of the base class poisoned,"
             f" {len(shown)} pairs."),
    alt="Stacked bars of natural confusion, collateral damage and lift for each setting.",
    finding=all_methods.confused(with_parts),
)

# %% [markdown]
# ## Published against measured
# Each verdict compares a statistic and its 95% interval over attack instances with a threshold.
# *Fails* needs the interval on the other side and the positive control (the undefended backdoor)
# passed. Holm's correction covers all decided verdicts of the paper. R9, R10 and R11 were
# **amended** on 2026-11-21, when some of the study's rows existed: the verdict as first frozen, on
# today's rows, stands beside them.

# %% tags=["nbval-check-output"]
verdicts.show("13_privacy_budget", study.together([tuning, *by_dataset.values(), tenth]))

# %% [markdown]
# ## What it means
# **Every defence lowers the lift, and each costs accuracy.** Undefended, the model is 72.5%
# accurate and the lift is 74 points; PATE with a threshold leaves 0.3 points, at 47%.
#
# **No setting clearly beats stopping early.** PATE with a threshold leaves 1.2 points less [0.1,
# 2.2] than plain SGD stopped as accurate, at 47%, where plain SGD has hardly learnt the trigger
# either. After a correction for ten comparisons that is no longer decided in lift; in trigger AUC
# it is (table above).
#
# **Two settings clearly leave more**: DP-SGD at noise 1 by 15.5 points [10.6, 20.4], ALIBI at label
# epsilon 4 by 19.9 [13.6, 26.2]. No other lift differs from that of plain SGD once ten comparisons
# are corrected for.
#
# **These intervals take the learning rates as given, and those decide.** DP-SGD at noise 1 has ten
# times the rate of plain SGD here. With both at the setting that leaves least, the two differ
# little (notebook 11). For the other methods nobody has tried.
#
# **Among private settings the accurate ones keep the backdoor.** LP-2ST at a label epsilon of 4 is
# the most accurate (70%) and keeps 56 points of lift; DP-SGD at noise 2 has 63% and 20 points. At
# label epsilon 1 and in PATE little of the trigger is left (0.3 to 5 points), for 16 to 34 points
# of accuracy. PATE's epsilon says nothing about the stamped images in its public pool.
#
# **LP-2ST at epsilon 1 lowers the lift by 62 points [40, 84] on three pairs.** That is the paper's
# direction; by its own interval it holds, after Holm's correction it is inconclusive (R9). A
# quarter of the lift is left [-3, 53%], too wide to be called less than half.
#
# **What it costs is not testable here.** In figure 3 it has 48% accuracy and 67% attack success,
# where the paper has 78 and 39%. Its accuracy falls by 24 points [22, 26], on features with which
# the undefended model reaches 72% and not the paper's 91%. What label noise and votes cost depends
# on the features, so distances of accuracy say nothing about R9, R10 and R11.
#
# **On MNIST the corner of high accuracy and low attack success is empty.** The paper finds PATE
# there. Here no setting that is at least 90% accurate has a mean attack success below 64%. The
# three pairs differ a lot: ALIBI at epsilon 1 has 65%, and between 6 and 99% by pair. PATE without
# noise is 89% accurate with an attack success of 77%, of which 45 points need no trigger.
#
# What differs from the paper: frozen features fitted on 10,000 public images instead of ImageNet's,
# 40,000 private images, 20 epochs in figure 3, settings tuned on clean held-out data. PATE's
# epsilon counts every query, and its selection: 40 at the paper's noises and 10,000 queries.
#
# ## What to try next
# Change `levels`, `threshold` or `fraction` in the parameters cell and run again: known rows are
# read, missing ones are trained. `undefended` in `setups` holds the learning rate of the path that
# everything is compared with, the first thing to doubt.
