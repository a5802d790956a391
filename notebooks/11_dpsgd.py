# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # DP-SGD against a backdoor
# *DP-SGD takes attack success from 66 to 13% for two points of accuracy; how much of the backdoor
# it leaves is decided by learning rate and stopping, more than by epsilon.*
#
# Razmi et al., section 6.1, claim that DP-SGD stops a backdoor. Noise lowers attack success, and
# accuracy with it: a model that has learnt less shows less of everything. So the question here is
# what DP-SGD leaves **at equal clean accuracy**, beside plain SGD that is simply stopped earlier.
# The answer depends on how both are trained, so both are varied: learning rate, stopping, averaged
# weights; for DP-SGD noise, batch, length and a falling rate too. Figure 1 of the paper (claims R1
# to R5) follows at the end.

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
# none (pixels), patches, resnet-public, imagenet-resnet50, imagenet-lite0:SIDE, timm:NAME
features = "imagenet-lite0:128"
model = "head"  # cnn, head, mlp, linear, or my_file.py:function
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never
epochs = 30  # passes over the private images
batch_size = 512  # expected size of a Poisson batch
fraction = 0.1  # poisoned share of the base class
# base and target classes: the second derangement, which no prototype touched
pairs = [[0, 5], [1, 2], [2, 6], [3, 1], [4, 3], [5, 7], [6, 0], [7, 8], [8, 9], [9, 4]]
matched_noise = [1.0, 2.0, 4.0]  # noise multipliers of DP-SGD, clipping norm 1
rates = [0.003, 0.01, 0.03, 0.1, 0.3]  # learning rates of DP-SGD
plain_rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]  # learning rates of plain SGD
falling_rates = [0.03, 0.1]  # of DP-SGD with a rate that falls to nothing
large_batch = 4096  # expected batch of another DP-SGD at the same epsilons
large_rates = [0.1, 0.3]  # its learning rates
short_epochs = 10  # passes of another DP-SGD at the same epsilons
short_rates = [0.1, 0.3]  # its learning rates
# tried for clean accuracy in each tuning draw, without any attack
tuning_rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
tuning_draws = 3  # held-out tenths, with seeds of their own
checkpoints = 12  # measurements along a path of DP-SGD
plain_checkpoints = 24  # along any other, which is read between them
# the older set-up, by which the report had it wrong, and figure 1 of the paper
older_features = "patches"
older_epochs = 50  # passes over the private images there, and in figure 1
# learning rates of its one tuning draw
older_rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
older_checkpoints = 16  # measurements along its paths
# base and target classes there
older_pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]
label_flip = 0.4  # share of labels redrawn in the label-noise path
figure_fraction = 0.5  # poisoned share of the base class in figure 1
figure_pairs = [[3, 5], [0, 8], [5, 2]]  # base and target classes of figure 1's instances
noise_multipliers = [0.0, 2.0, 5.6]  # figure 1a and 1b
clipping_norms = [0.1, 1.2, 16.0]  # figure 1c and 1d
figure_clipping_norm = 1.2  # figure 1a and 1b
figure_noise = 5.6  # figure 1c and 1d
weight_decay = 0.0001  # figure 1, as in the released code

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run. A setting is trained on every pair of classes, each with a trigger and poisoned rows of
# its own, and measured along the way.

# %%
from lib import figures, privacy, study, verdicts
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.goals import parts
from lib.papers.ours import envelopes, matched, trainings, tuned
from lib.study import Run, curves, grid, instances, run, worlds
from lib.training import Training

base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public,
           features=features, model=model, precision=precision, attack=BadNets(fraction=fraction))
usual = dict(epochs=epochs, batch_size=batch_size)
private_size = train_size - public
arms = {"plain SGD": trainings.PLAIN, "clip only": DPSGD(0.0),
        "label noise": LabelNoise(label_flip)} | {f"DP-SGD {z:g}": DPSGD(z) for z in matched_noise}


def setting(name, rate, world="P"):
    """The runs of an arm at one learning rate, one a pair."""
    points = checkpoints if name.startswith("DP-SGD") else plain_checkpoints
    return trainings.paths(base, [(arms[name], rate)], pairs, world=world, checkpoints=points,
                           **usual)


# %% [markdown]
# Two families: plain SGD, and DP-SGD at several noise levels. Batch and length of DP-SGD are varied
# at equal epsilon, with the noise that this takes.

# %%
plain = run(one for rate in plain_rates for one in setting("plain SGD", rate))
private = run(trainings.private(
    base, pairs, noise=matched_noise, rates=rates, checkpoints=checkpoints, **usual, varied=[
        dict(rates=falling_rates, schedule="linear"),
        dict(rates=large_rates, batch_size=large_batch),
        dict(rates=short_rates, epochs=short_epochs),
    ]))
families = study.together([plain, private])

# %% [markdown]
# ## The same epsilon, another learning rate
# **Lift** is attack success on stamped images minus that on the same images without the trigger:
# what the trigger itself does. Below it stands beside clean accuracy, for DP-SGD at the end of its
# training. The epsilon is that of the noise, whatever the learning rate. The thick lines are plain
# SGD along its training, at each rate that a draw of the tuning for clean accuracy chose.

# %%
tuning = run(trainings.tuning(base, arms.values(), tuning_rates, draws=tuning_draws, **usual))
held_out = tuned.accuracies(tuning)
# what each draw chose; the attacked rows that were trained as in the tuning, at every rate
choices, attacked = tuned.compared(study.together([families, tuning]))
favourites = tuned.favourites(choices)

# %% [markdown]
# A point above a thick line leaves more of the backdoor than stopping plain SGD there.

# %%
ends = attacked[envelopes.families(attacked).eq("DP-SGD")]
ends = ends.assign(series=[f"DP-SGD, noise {z:g} (ε {epsilon:.2g})" for z, epsilon in zip(
    ends["noise_multiplier"], ends["epsilon"], strict=True)])
paths = curves(plain[plain["weights"].eq("last")])
figure = figures.by_setting(
    ends, series="series", along="training.lr", references={
        f"plain SGD, rate {rate:g}": paths[paths["training.lr"].eq(rate)]
        for rate in sorted(set(choices.loc[choices["arm"].eq("plain SGD"), "training.lr"]))})
figures.show(
    figure, id="dpsgd-rates", data=study.tidy([ends], only=[
        "series", "training.lr", "attack.base", "attack.target", "accuracy", "lift", "success"]),
    caption=(
        "Clean accuracy and lift of DP-SGD at the end of training, by noise multiplier (lines) and"
        f" learning rate (numbers), means over {len(pairs)} pairs; thick: plain SGD along its"
        " training, at each rate that the tuning chose. Epsilon: delta 1e-5, add-remove, Poisson"
        " batches, PLD."
    ),
    alt=(
        "For each noise multiplier a line through its learning rates in the plane of clean accuracy"
        " and lift, beside the paths of plain SGD."
    ),
)

# %% [markdown]
# ## The least that is left at an accuracy
# At each accuracy a family takes the setting that leaves least of the backdoor on the *other*
# pairs; its lift is read on the one at hand.
#
# $$\text{lift}_F(a, p) = \text{lift}_{s}(a, p), \qquad
# s = \arg\min_{s' \in F} \sum_{p' \neq p} \text{lift}_{s'}(a, p')$$

# %%
points = envelopes.at_accuracies(curves(families))
least = envelopes.least(points)
apart = envelopes.differences(least)
figure = figures.envelopes(least, apart)
figures.show(
    figure, id="dpsgd-envelopes", data=study.tidy([least, apart]),
    caption=(
        f"Least lift of each family at a clean accuracy, {fraction:.0%} of the base class"
        f" poisoned, {len(pairs)} pairs of classes. Left: means. Right: DP-SGD minus plain SGD,"
        " each pair (faint), their mean and its 95% t interval."
    ),
    alt=(
        "Left, two lines of least lift over clean accuracy, for DP-SGD and plain SGD. Right, their"
        " paired difference with its interval beside a line at zero."
    ),
)

# %% [markdown]
# ## As tuned for clean accuracy
# A practitioner tunes for accuracy and never sees the attack. Each tuning draw holds out another
# tenth of the private images, with seeds of its own, and chooses a rate for each arm. The choice is
# made on private data; the table of epsilons below says what it would cost to pay for it.

# %%
table = held_out.reset_index().merge(choices, on=["arm", "draw"]).drop(columns="problem")
figures.table(
    table.rename(columns={"training.lr": "chosen"}), id="dpsgd-tuning", digits=3, missing="–",
    caption=(
        "Clean accuracy on the held-out tenth by learning rate, and the rate that each tuning draw"
        " chose."
    ),
)
problems = choices.loc[choices["problem"].ne(""), ["arm", "draw", "problem"]]
print("problems of a grid:", problems.to_string(index=False) if len(problems) else "none")

# %% [markdown]
# For each pair and noise level: lift of DP-SGD minus lift of plain SGD at the moment it first
# reached the same clean accuracy, both at the rates of one draw, then averaged over the draws.
# Matching uses test accuracy on both sides: it is a comparison, not a choice of a model that
# anybody deploys.

# %%
differences = tuned.differences(attacked, paths, choices)
figure = figures.paired_differences(
    differences, by="noise_multiplier",
    xlabel="difference in lift [points]: above 0, DP-SGD is worse")
figures.show(
    figure, id="dpsgd-tuned", data=study.tidy([differences]),
    caption=(
        "As tuned: paired difference in lift between DP-SGD and plain SGD stopped at the same clean"
        f" accuracy; each pair (mean over {tuning_draws} tuning draws), and the mean with its 95% t"
        " interval."
    ),
    alt=(
        "Forest plot: for each noise multiplier, a dot for each pair and the mean paired difference"
        " in lift with its interval, beside a line at zero."
    ),
)

# %% [markdown]
# By draw: two rates of plain SGD are as accurate as each other, and draws differ in which of them
# they choose.

# %%
figures.table(
    tuned.by_draw(differences), id="dpsgd-draws", digits=3,
    caption=(
        "Lift of DP-SGD minus lift of plain SGD stopped as accurate, points [95% t interval over"
        " pairs], at the rates that each tuning draw chose."
    ),
)

# %% [markdown]
# ## What the guarantee says
# What a noise multiplier means depends on how batches are drawn, which the paper leaves open, on
# who counts as a neighbour, and on what tuning is charged. Two more conditions stand behind every
# epsilon here: it is that of one model whose noise stays secret (the runs of this study share
# seeds, and their differences do not), and noise comes from torch's generator, which is not a
# cryptographic one.

# %%
epsilons = privacy.epsilon_table(matched_noise, n=private_size,
                                 tuning_runs=tuning_draws * len(tuning_rates), **usual)
figures.table(
    epsilons, id="dpsgd-epsilon", digits=3, caption=
    f"Epsilon at delta 1e-5 for {private_size} images, batch {batch_size}, {epochs} epochs (PLD).",
)

# %% [markdown]
# The bound: the most attack success that the guarantee permits after k images are poisoned in
# place. It starts from what models of the same algorithm call target on triggered images after
# *clean* training: the upper end of that rate's 95% interval. It bounds a worst case on average
# over trainings, not this attack.

# %%
chosen = tuned.of_families(choices)[["arm", "training.lr"]].drop_duplicates()
twins = run((one for name, rate in chosen.itertuples(index=False) for world in "PLC"
             for one in setting(name, rate, world)), like=base)
twins = twins[twins["weights"].eq("last")]
caps = privacy.measured_caps(twins[twins["noise_multiplier"].gt(0)], n=private_size,
                             poisons=[1, 10, 100], **usual)
figures.table(
    caps, id="dpsgd-cap", digits=3, missing="–",
    caption=(
        "Caps on DP-SGD's attack success by the number k of images poisoned in place (replace-one,"
        f" Poisson, PLD), from the measured triggered rate of clean models; {fraction:.0%} of the"
        " base class poisoned."
    ),
)

# %% [markdown]
# ## Clipping alone, and label noise
# Against two other paths by the same rule, each at the rate of its own tuning; a path that never
# reaches the accuracy says nothing. Intervals are for one line at a time.

# %%
others = {name: run(setting(name, favourites[name]))
          for name in ("clip only", "label noise") if name in favourites}
at_last = {name: curves(rows[rows["weights"].eq("last")]) for name, rows in others.items()}
at_last["plain SGD"] = paths[paths["training.lr"].eq(favourites.get("plain SGD"))]
references = {f"{name}, rate {favourites.get(name, float('nan')):g}": path
              for name, path in at_last.items()}
at_chosen = twins[twins["noise_multiplier"].gt(0) & twins["world"].eq("P")]
figures.table(
    matched.against(at_chosen, references, metric="lift"), id="dpsgd-references", digits=3,
    missing="–",
    caption=(
        "Lift of DP-SGD minus lift of each path when it first was as accurate: mean over the pairs,"
        " 95% t interval, and pairs that the path's accuracy reaches."
    ),
)

# %% [markdown]
# ## What we had wrong
# This report first compared the two on weaker features (`patches`), on other pairs, at one learning
# rate an arm, each chosen by a single tuning draw, and found that DP-SGD leaves *more*. The rows
# are below, as they were.

# %%
older = base.with_(features=older_features)
older_training = Training("sgd", 0.1, epochs=float(older_epochs), batch_size=batch_size)
unattacked = older.with_(attack=BadNets(stamp=False, relabel=False), split="tune",
                         training=older_training)
older_tuning = run(unattacked.with_(defence=arm, training__lr=rate)
                   for arm in arms.values() for rate in older_rates)
older_best = tuned.chosen(tuned.accuracies(older_tuning)).set_index("arm")["training.lr"]

# %% [markdown]
# Every arm in three training worlds: attacked (P), the same rows only relabelled (L), clean (C).

# %%
older_rows = run(
    one for name, rate in older_best.items() for instance in instances(
        older.with_(defence=arms[name], training=older_training, training__lr=rate,
                    training__checkpoints=0 if name.startswith("DP-SGD") else older_checkpoints),
        older_pairs) for one in worlds(instance))
older_points = parts(older_rows[older_rows["noise_multiplier"].gt(0)])
older_path = curves(older_rows[older_rows["training.checkpoints"].gt(0)])
older_path = older_path[older_path["world"].eq("P") & older_path["defence.name"].eq("dpsgd")
                        & ~older_path["defence.clip"].astype(bool)]
older_apart = matched.matched(older_points, older_path, metric="lift")
figure = figures.paired_differences(
    older_apart, by="noise_multiplier",
    xlabel="difference in lift [points]: above 0, DP-SGD is worse")
figures.show(
    figure, id="dpsgd-older", data=study.tidy([older_apart]),
    caption=(
        f"The older comparison, on {older_features}: one learning rate an arm, one tuning draw."
        " Each pair, and the mean with its 95% t interval."
    ),
    alt=(
        "Forest plot of the older comparison: paired differences in lift for each noise multiplier."
    ),
)

# %% [markdown]
# The rows are right, and what was read from them is not. DP-SGD at noise 1 had been given ten times
# the learning rate of plain SGD, 0.1 against 0.01, each by the best of seven accuracies on 4,000
# images; for plain SGD 0.3 points decided between 0.01 and 0.1. At noise 2 and 4 it had three times
# the rate. Above, with every rate on both sides, the sign goes with the rates.
#
# ## Figure 1 of the paper
# A large share of the base class is stamped and relabelled. Three optimisers, RMSProp (.001) and
# SGD with momentum .9 (.1 and .01), over the noise multiplier at one clipping norm, and over the
# clipping norm at one noise. Batches are Poisson samples, which the epsilons assume.

# %%
figure_base = older.with_(attack=BadNets(fraction=figure_fraction))
settings = dict(epochs=float(older_epochs), batch_size=batch_size, weight_decay=weight_decay)
optimisers = {
    "RMSProp .001": Training("rmsprop", 0.001, momentum=0.0, **settings), "SGD .1": Training(
        "sgd", 0.1, **settings), "SGD .01": Training("sgd", 0.01, **settings)
}
over_noise = grid(figure_base, training=optimisers.values(),
                  defence=[DPSGD(z, max_grad_norm=figure_clipping_norm) for z in noise_multipliers])
over_norm = grid(figure_base, training=optimisers.values(),
                 defence=[DPSGD(figure_noise, max_grad_norm=c) for c in clipping_norms])
figure1a = run(one for start in over_noise for one in instances(start, figure_pairs, seeds=None))
figure1c = run(one for start in over_norm for one in instances(start, figure_pairs, seeds=None))
plain50 = run(instances(figure_base.with_(training=optimisers["SGD .1"], defence=trainings.PLAIN),
                        figure_pairs, seeds=None))

# %% [markdown]
# Accuracy above, attack success below; noise on the left, the clipping norm on the right.

# %%
names = {("rmsprop", 0.001): "RMSProp .001", ("sgd", 0.1): "SGD .1", ("sgd", 0.01): "SGD .01"}
for frame in (figure1a, figure1c):
    frame["optimiser"] = [
        names[o, r] for o, r in zip(frame["training.optimizer"], frame["training.lr"])
    ]
noise_axis = dict(frame=figure1a, x="defence.noise_multiplier", series="optimiser", xscale="log",
                  xlabel="noise multiplier", second_axis="epsilon")
norm_axis = dict(frame=figure1c, x="defence.max_grad_norm", series="optimiser", xscale="log",
                 xlabel="clipping norm")
figure = figures.panels([
    noise_axis | dict(y="accuracy"), norm_axis | dict(y="accuracy"), noise_axis | dict(y="success"),
    norm_axis | dict(y="success")
])
figures.show(
    figure,
    id="razmi-F1",
    data=study.tidy([figure1a, figure1c]),
    caption=(
        "Figure 1 of Razmi et al.: clean accuracy and attack success over noise (clipping norm"
        f" {figure_clipping_norm}) and over the clipping norm (noise {figure_noise}),"
        f" {figure_fraction:.0%} of the base class poisoned, {len(figure_pairs)} pairs. Epsilon:"
        " delta 1e-5, add-remove, Poisson sampling, PLD."
    ),
    alt=(
        "Four panels of lines for three optimisers: clean accuracy and attack success over the"
        " noise multiplier and over the clipping norm."
    ),
)

# %% [markdown]
# Attack success counts every stamped image of the base class that is called target. At one half
# that includes images that would be called target without any trigger: half of the base class
# carries the target's label, and a learner that cannot see the trigger is free to call the whole
# class target (notebook 10 shows it). **Lift**, success on stamped minus success on the same images
# unstamped, is what the trigger itself does.

# %%
figure = figures.panels([noise_axis | dict(y="lift"), norm_axis | dict(y="lift")])
figures.show(
    figure,
    id="dpsgd-lift",
    data=study.tidy([figure1a, figure1c]),
    caption=(
        "The same runs, counted by lift: attack success on stamped images minus that on the same"
        " images without the trigger."
    ),
    alt=(
        "Two panels: lift over the noise multiplier and over the clipping norm for three"
        " optimisers."
    ),
)

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold that was
# fixed before the rows existed. *Fails* needs the interval on the other side and the positive
# control (the undefended backdoor) passed. D1a and D1b have no wrong side: either sign is a
# finding.

# %% tags=["nbval-check-output"]
rows = study.together([figure1a, figure1c, plain50, older_rows, older_tuning, families, tuning,
                       *others.values(), twins])
judged = verdicts.table(verdicts.evaluate({"11_dpsgd": rows}))
judged = judged[judged["notebook"].eq("11_dpsgd")]
print(judged[["id", "direction", "size", "measured", "interval", "n"]].to_string(index=False))

# %% [markdown]
# ## What it means
# **DP-SGD lowers attack success at a small price.** Tuned for accuracy, it is 13% [3, 23] of 1,000
# stamped images at epsilon 3.7 (delta 1e-5, add-remove, Poisson, PLD) in place of 66% [59, 72], at
# 78% accuracy in place of 80.
#
# **The learning rate decides what is left.** At epsilon 3.7 a rate of 0.1 leaves a lift of 26.9
# points and one of 0.03 leaves 9.9, a difference of 17.0 [11.8, 22.2], at the same accuracy to half
# a point. At epsilon 1.3 and 0.56 the larger rates cost accuracy and leave more of the backdoor.
# Notebook 64 says why: at equal accuracy, what has gone further keeps more of the trigger.
#
# **Where each side takes the setting that leaves least, they are nearly equal.** Over all
# accuracies that both reach the difference is -0.2 [-0.7, 0.2] points, and in the last five of them
# -1.2 [-2.1, -0.2]. That is as good as stopping plain SGD early at its best rate, and a little
# better; it is not what epsilon promises. D1b is inconclusive by its frozen mean, which runs over
# many accuracies at which neither has learnt the trigger.
#
# **As tuned, DP-SGD leaves less (D1a), by an amount that is luck.** The frozen intervals, over
# pairs of classes, are below zero at each noise level. But plain SGD is as accurate at 0.01 as at
# 0.3, to within a point on 4,000 images, and the draws choose 0.01 once and 0.3 twice. Against 0.01
# the differences are -3.8 [-5.8, -1.8], +0.7 [-0.2, 1.6] and -0.6 [-1.5, 0.3] points, against 0.3
# they are -31.6, -18.9 and -15.9 (table above). With the draws drawn anew no level would be
# decided. A tuning for clean accuracy does not see the backdoor, on either side. Backdoor effect,
# against twins that are only relabelled, and trigger AUC say the same.
#
# **The guarantee does not explain the fall.** 400 images are poisoned, and the table of caps
# permits any attack success long before. Plain SGD stopped early has no guarantee, and leaves as
# little.
#
# **Noise is not needed for it.** Clipping alone at its tuned rate, stopped when it was as accurate,
# leaves as little as DP-SGD: the differences are -0.4 [-2.3, 1.5], +2.8 [1.4, 4.2] and +0.5 [-0.1,
# 1.0] points at noise 1, 2 and 4. It has no guarantee either. Label noise cannot be told from
# DP-SGD where it gets so far (table above).
#
# Ten pairs share three training seeds. Paths are read between their checkpoints on a straight line,
# which overstates plain SGD's lift where it rises fast. So its paths were trained anew with 24
# checkpoints in place of 12, after the first verdicts were seen; no verdict changed.
#
# Figure 1, at half of the base class, three instances: R2 holds (accuracy and attack success fall
# with noise for each optimiser) and R4 holds (the clipping norm moves accuracy, and not
# monotonically). R3 and R5 are inconclusive; R3 leans the other way. SGD .01 at clipping norm .1
# shows why attack success alone misleads: 72% of stamped images are called target, at 43% accuracy,
# which the paper reads as a model that kept the trigger. 63% of the *unstamped* ones are too: the
# trigger's lift is 8 points, and the rest is the relabelled half of the class.
#
# ## What to try next
# Change `matched_noise`, `fraction` or `features` in the parameters cell and run again: known rows
# are read, missing ones are trained. `dataset = "strokes"`, `features = "none"`, `model = "mlp"`,
# `train_size = 12000`, `public = 2000`, `older_features = "none"` needs no data; on such digits, at
# 8 epochs, DP-SGD's envelope lies below plain SGD's (notebook 64).
