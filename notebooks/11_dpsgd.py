# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # DP-SGD against a backdoor
# *Noise lowers attack success; whether by more than stopping plain SGD early does is open.*
#
# Razmi et al., section 6.1: figure 1a to 1d (noise multiplier and clipping norm, three optimisers)
# and claims R1 to R5. The last two figures are in none of the papers: clean accuracy against the
# backdoor's effect, with plain SGD stopped early, clipping alone and label noise as paths, and
# DP-SGD as points.

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
epochs = 50  # passes over the private images
batch_size = 512  # expected size of a Poisson batch
weight_decay = 0.0001  # figure 1, as in the released code
figure_fraction = 0.5  # poisoned share of the base class in figure 1
figure_pairs = [[3, 5], [0, 8], [5, 2]]  # base and target classes of figure 1's instances
noise_multipliers = [0.0, 2.0, 5.6]  # figure 1a and 1b
clipping_norms = [0.1, 1.2, 16.0]  # figure 1c and 1d
figure_clipping_norm = 1.2  # figure 1a and 1b
figure_noise = 5.6  # figure 1c and 1d
fraction = 0.1  # poisoned share of the base class in the headline
# the headline's instances
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]
matched_noise = [1.0, 2.0, 4.0]  # noise multipliers of the headline, clipping norm 1
label_flip = 0.4  # share of labels redrawn in the label-noise path
# learning rates tried for clean accuracy, on a held-out tenth, without any attack
rates = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0]
checkpoints = 16  # measurements along a path

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run.

# %%
from lib import figures, privacy, study, verdicts
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.defences.label_noise import LabelNoise
from lib.goals import parts
from lib.papers.ours import matched
from lib.study import Run, curves, grid, instances, run, worlds
from lib.training import Training

# %% [markdown]
# ## Figure 1 as published
# A large share of the base class is stamped and relabelled. Three optimisers, RMSProp (.001) and
# SGD with momentum .9 (.1 and .01), over the noise multiplier at one clipping norm, and over the
# clipping norm at one noise. Batches are Poisson samples, which the epsilons assume.

# %%
base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public,
           features=features, model=model, precision=precision,
           attack=BadNets(fraction=figure_fraction))
settings = dict(epochs=float(epochs), batch_size=batch_size, weight_decay=weight_decay)
optimisers = {
    "RMSProp .001": Training("rmsprop", 0.001, momentum=0.0, **settings), "SGD .1": Training(
        "sgd", 0.1, **settings), "SGD .01": Training("sgd", 0.01, **settings)
}


# %% [markdown]
# An instance of the attack is a pair of classes with a trigger and poisoned rows of its own.

# %%
over_noise = grid(base, training=optimisers.values(),
                  defence=[DPSGD(z, max_grad_norm=figure_clipping_norm) for z in noise_multipliers])
over_norm = grid(base, training=optimisers.values(),
                 defence=[DPSGD(figure_noise, max_grad_norm=c) for c in clipping_norms])
figure1a = run(one for start in over_noise for one in instances(start, figure_pairs, seeds=None))
figure1c = run(one for start in over_norm for one in instances(start, figure_pairs, seeds=None))
plain50 = run(
    instances(base.with_(training=optimisers["SGD .1"], defence=DPSGD(0.0, clip=False)),
              figure_pairs, seeds=None))

# %% [markdown]
# What a noise multiplier means depends on how batches are drawn, which the paper leaves open, on
# who counts as a neighbour, and on what tuning is charged. A later table has the bound that this
# guarantee puts on attack success.

# %%
private_size = train_size - public
epsilons = privacy.epsilon_table(sorted({*noise_multipliers, *matched_noise} - {0.0}),
                                 n=private_size, batch_size=batch_size, epochs=epochs,
                                 tuning_runs=len(rates))
figures.table(
    epsilons, id="dpsgd-epsilon", digits=3, caption=
    f"Epsilon at delta 1e-5 for {private_size} images, batch {batch_size}, {epochs} epochs (PLD).",
)

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
# ## Tuning, before any attack
# Learning rates are chosen for clean accuracy on a held-out tenth of the private images, on clean
# data. Attack success is never looked at. Every arm gets the same grid. The choice is made on
# private data; the table above says what it would cost to pay for it. Two more conditions stand
# behind every epsilon here: it is that of one model whose noise stays secret (the runs of this
# study share seeds, and their differences do not), and noise comes from torch's generator, which is
# not a cryptographic one.

# %%
tuned = Training("sgd", 0.1, epochs=float(epochs), batch_size=batch_size)
arms = {
    "plain SGD": DPSGD(0.0, clip=False), "clip only": DPSGD(0.0),
    "label noise": LabelNoise(label_flip)
} | {f"DP-SGD {z:g}": DPSGD(z) for z in matched_noise}
clean = base.with_(attack=BadNets(stamp=False, relabel=False), split="tune", training=tuned)
tuning = run(clean.with_(defence=arm, training__lr=rate) for arm in arms.values() for rate in rates)
tuning["arm"] = [name for name in arms for _ in rates]
best = study.best(tuning, by="arm", choose="training.lr", on="accuracy")
edges = [name for name, rate in best.items() if rate in (min(rates), max(rates))]
print("best rate at an edge of the grid:", ", ".join(edges) or "none")
figures.table(
    tuning.pivot(index="arm", columns="training.lr", values="accuracy")
    .loc[list(arms)]
    .reset_index(),
    id="dpsgd-tuning",
    digits=3,
    caption=(
        "Clean accuracy on the held-out tenth by learning rate; the best rate of each arm is used"
        " below."
    ),
)

# %% [markdown]
# ## At equal accuracy
# Pairs of classes by a rule fixed beforehand, a smaller share of the base class poisoned. Every arm
# is trained on poisoned data (P), on data where the same rows are only relabelled (L), and on clean
# data (C). The arms other than DP-SGD
# are recorded along their training: a path tells what the same model would have shown had it been
# stopped earlier. Matching uses test accuracy on both sides: it is a comparison, not a choice of a
# model that anybody deploys.


# %%
def arm_runs(name):
    points = 0 if name.startswith("DP-SGD") else checkpoints
    start = base.with_(defence=arms[name], training=tuned, training__lr=best[name],
                       training__checkpoints=points, attack=BadNets(fraction=fraction))
    # Three training seeds serve the ten pairs: runs of equal seed share one clean twin.
    return [one for instance in instances(start, pairs) for one in worlds(instance)]


# %% [markdown]
# All arms together, every pair in three worlds, at the tuned learning rates.

# %%
headline = run(one for name in best for one in arm_runs(name))
points = parts(headline[headline["defence.name"].eq("dpsgd") & headline["noise_multiplier"].gt(0)])
recorded = curves(headline[headline["training.checkpoints"].gt(0)])
paths = parts(recorded)
paths["series"] = [
    "label noise" if d == "label_noise" else "clip only" if c else "plain SGD"
    for d, c in zip(paths["defence.name"], paths["defence.clip"])
]
figure = figures.matched(points, paths)
figures.show(
    figure,
    id="dpsgd-matched",
    data=study.tidy([points, paths]),
    caption=(
        f"Clean accuracy against lift (left) and trigger AUC (right), {fraction:.0%} of the base"
        f" class poisoned, mean and 95% t interval over {len(pairs)} pairs. Lines: plain SGD,"
        " clipping alone and label noise along their training. Points: DP-SGD at the end of its"
        " training."
    ),
    alt=(
        "Two panels with clean accuracy on the horizontal axis; DP-SGD's points lie beside the"
        " paths of plain SGD, clipping alone and label noise."
    ),
)

# %% [markdown]
# The bound: the most attack success that DP-SGD's guarantee permits after k images are poisoned in
# place. It starts from what models of the same algorithm call target on triggered images after
# *clean* training: the upper end of that rate's 95% interval. It bounds a worst case on average
# over trainings, not this attack.

# %%
noisy = headline[headline["defence.name"].eq("dpsgd") & headline["noise_multiplier"].gt(0)]
caps = privacy.measured_caps(
    noisy, n=private_size, batch_size=batch_size, epochs=epochs, poisons=[1, 10, 100]
)
figures.table(
    caps,
    id="dpsgd-cap",
    digits=3,
    missing="–",
    caption=(
        "Caps on DP-SGD's attack success by the number k of images poisoned in place (replace-one,"
        f" Poisson, PLD), from the measured triggered rate of clean models; {fraction:.0%} of the"
        " base class poisoned."
    ),
)

# %% [markdown]
# For each pair and noise level: lift of DP-SGD minus lift of plain SGD at the moment it first
# reached the same clean accuracy, read from its path. Above zero, DP-SGD leaves *more* of the
# backdoor than stopping this path early would. The plain path is one path, SGD at the learning rate
# that won its tuning; other rates give other paths and, below, other signs.

# %%
plain_path = recorded[recorded["defence.name"].eq("dpsgd") & ~recorded["defence.clip"].astype(bool)
                      & recorded["world"].eq("P")]
differences = matched.matched(points, plain_path, metric="lift")
figure = figures.paired_differences(differences, by="noise_multiplier")
figures.show(
    figure,
    id="dpsgd-differences",
    data=study.tidy([differences]),
    caption=(
        "Paired difference in lift between DP-SGD and plain SGD stopped at the same clean accuracy:"
        " each pair, and the mean with its 95% t interval."
    ),
    alt=(
        "Forest plot: for each noise multiplier, a dot for each pair and the mean paired difference"
        " in lift with its interval, beside a line at zero."
    ),
)

# %% [markdown]
# Against the other two paths, clipping alone and label noise, by the same rule; a path that never
# reaches the accuracy says nothing. Intervals are for one line at a time.

# %%
references = {"plain SGD": plain_path} | {
    name: paths[paths["series"].eq(name) & paths["world"].eq("P")]
    for name in ("clip only", "label noise")
}
lines = matched.against(points, references, metric="lift")
figures.table(
    lines,
    id="dpsgd-references",
    digits=3,
    missing="–",
    caption=(
        "Lift of DP-SGD minus lift of each path when it first was as accurate: mean over the pairs,"
        " 95% t interval, and pairs that the path's accuracy reaches."
    ),
)
ends = headline[headline["training.checkpoints"].gt(0) & headline["world"].eq("P")]
of = {
    name: ends[ends["defence.name"].eq("dpsgd") & ends["defence.clip"].eq(clips)]
    for name, clips in (("plain SGD", False), ("clip only", True))
}
for measure in ("accuracy", "lift"):
    found = matched.paired(of["clip only"], of["plain SGD"], measure)
    print(
        f"clip only minus plain SGD at the end of training, {measure}: {100 * found.mean:+.2f}"
        f" points [{100 * found.low:.2f}, {100 * found.high:.2f}], n {found.n}; learning rates"
        f" {best.get('clip only', float('nan')):g} and {best.get('plain SGD', float('nan')):g}"
    )

# %% [markdown]
# ## Learning rates turn the sign
# A review trained six of the pairs (3-5, 0-8, 7-0, 1-9, 5-2, 4-7) again on `patches`, with plain
# SGD at three learning rates. Lift of DP-SGD minus lift of plain SGD when it first was as accurate,
# in points, with 95% t intervals:
#
# | learning rate of plain SGD | noise 1 | noise 2 | noise 4 |
# |---|---|---|---|
# | 0.01 (as above) | +16.3 [8.1, 24.5] | +5.8 [-1.1, 12.6] | +13.2 [0.6, 25.8] |
# | 0.1 | +8.3 [6.1, 10.5] | -1.2 [-8.6, 6.1] | +9.6 [-1.5, 20.8] |
# | 0.3 | **-14.3 [-25.2, -3.5]** | -15.0 [-31.7, 1.6] | +3.5 [-1.6, 8.5] |
#
# **Where this table comes from**: the review's own trainings. They are not among the published
# rows, no cell of this notebook makes them, and measured envelopes over learning rate and stopping
# will replace them. In the same trainings DP-SGD's side moved as much at the same epsilon: at noise
# 1, three pairs, +0.5 points on average at rate 0.03, and +10, +14 and +31 at 0.1. The tuning that
# chose 0.01 for plain SGD over 0.1 rests on 0.3 points of accuracy on 4,000 images with one seed,
# about half a standard error. On ImageNet features a prototype (six pairs) found the opposite sign:
# DP-SGD at the rate best for its accuracy, 0.03, left less lift than plain SGD at each of three
# rates when it first was as accurate (by 4.9 to 15.4 points at noise 1, 2.4 to 7.0 at noise 2), and
# at three times that rate more (by 5.6 to 11.4 at noise 2).
#
# So two claims were frozen before their rows, for ten pairs that nobody has looked at: **D1a**
# takes both arms as they are tuned for clean accuracy, over several tuning draws, and **D1b** the
# least lift that each family can reach at an accuracy. Either sign is a finding. They are not
# measured yet.

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold that was
# fixed before the rows existed. *Fails* needs the interval on the other side and the positive
# control (the undefended backdoor) passed.

# %% tags=["nbval-check-output"]
rows = study.together([figure1a, figure1c, plain50, headline])
judged = verdicts.table(verdicts.evaluate({"11_dpsgd": rows}))
judged = judged[judged["notebook"].eq("11_dpsgd")]
print(judged[["id", "direction", "size", "measured", "interval", "n"]].to_string(index=False))

# %% [markdown]
# ## What it means
# **Noise lowers attack success and accuracy together.** Undefended, attack success is 82% (lift 74
# points) at 72.5% accuracy. With noise 1, 2 and 4 (epsilon 4.9, 1.7 and 0.74) attack success falls
# to 56, 31 and 29%, and accuracy to 66, 63 and 59%. Clipping alone, at another learning rate, gains
# 0.26 points of accuracy [0.12, 0.40] and 1.8 of lift [-0.4, 4.0].
#
# **Whether that is more than underfitting is open.** Against plain SGD at its tuned rate of 0.01,
# stopped when it first was as accurate, DP-SGD's lift on `patches` is larger by 15.5 points [10.6,
# 20.4] at noise 1, indistinguishable at noise 2 (3.7 [-0.4, 7.7]), and larger by 9.7 [2.5, 16.9] at
# noise 4. The intervals are for one level at a time, and cover neither the choice of learning rates
# nor training seeds. Other learning rates of plain SGD turn the sign (table above), and so do
# better features. Against label noise the difference at noise 2 is 1.8 [-1.5, 5.1].
#
# The guarantee does not explain the fall: 400 images are poisoned here, and the table of caps
# permits any attack success long before. That the model learns less of everything is a hypothesis;
# no measurement here separates it from others.
#
# On drawn digits learnt end to end (profile `quick`) it is plain SGD stopped early that leaves more
# at noise 2, by about 18 points of lift, and at noise 8 the two differ by about one.
#
# Figure 1, at half of the base class, three instances: R2 holds (accuracy and attack success fall
# with noise for each optimiser) and R4 holds (the clipping norm moves accuracy, and not
# monotonically). R3 and R5 are inconclusive; R3 leans the other way. SGD .01 at clipping norm .1
# shows why attack success alone misleads: 72% of stamped images are called target, at 43% accuracy,
# which the paper reads as a model that kept the trigger. 63% of the *unstamped* ones are too: the
# trigger's lift is 8 points, and the rest is the relabelled half of the class.
#
# ## What to try next
# Change `matched_noise`, `fraction` or `dataset` in the parameters cell and run again: known rows
# are read, missing ones are trained. `dataset = "strokes"`, `features = "none"`, `model = "mlp"`,
# `train_size = 12000`, `public = 2000` runs in a minute on a laptop. `label_flip` near 1 makes the
# label-noise path a study of memorisation.
