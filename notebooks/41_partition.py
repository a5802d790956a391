# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Partition aggregation, and what each guarantee is worth
# *On CIFAR-10 nothing certifies anything against 200 images changed in place; against five, votes
# of disjoint parts certify 9 to 40% of the test images, smoothing none by the image that its
# trigger moves most.*
#
# Ozyikan, Sandoval and Khasar, sections 3.2 and 4.2: figure 7 and claims O7 to O10, on Deep
# Partition Aggregation (DPA, Levine and Feizi 2021): k models on disjoint parts of the data vote.
# Then what the paper leaves out: the certificates of RAB and DPA on one axis, both of them
# together, PATE's votes read as a certificate, the cap that DP-SGD's noise puts on attack success,
# and a test of the guarantees by experiment.

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
# RAB and DPA on the same data
shared = {
    "dataset": "cifar10-jpeg", "train_size": 20000, "test_size": 2000, "public": 10000,
    "features": "patches:64"
}
targets = [0, 1, 2]  # target classes: one attack instance each
model = "head"  # base learner of DPA
# of one part
training = {"optimizer": "sgd", "epochs": 20.0, "batch_size": 32, "sampling": "shuffle"}
# learning rates to choose from, on clean held-out images; the middle one where none is chosen
rates = [0.03, 0.1, 0.3]
partitions = [50, 250, 500]  # k of figure 7
fractions = [0.02, 0.05, 0.1]  # poisoned share of the whole training set
norm = 1.0  # the trigger's l2 norm on an image with pixels in [0, 1]
# DPA on all private images and more features: what changes
larger = {"train_size": 50000, "features": "patches"}
larger_targets = [0]  # target classes there
larger_partitions = [50, 250]  # k there
# the paper of DPA: 1,200 parts
digits = {
    "dataset": "mnist", "train_size": 60000, "test_size": 500, "public": 0, "features": "none"
}
digits_model = "cnn"  # base learner there
digits_partitions = 1200  # k there
# of one part there
digits_training = {
    "optimizer": "sgd", "lr": 0.03, "epochs": 20.0, "batch_size": 16, "sampling": "shuffle"
}
digits_fractions = [0.0, 0.02]  # poisoned shares there
smoothing_model = "linear"  # base learner of RAB
# of one model
smoothing_training = {"optimizer": "sgd", "epochs": 3.0, "batch_size": 128, "sampling": "shuffle"}
# noise and learning rate, as chosen in notebook 40
smoothing_rates = [[0.5, 0.03], [1.0, 0.01], [2.0, 0.003]]
models = 100  # N of RAB
weak_norm = 0.1  # a trigger with a norm that smoothing can say something about
together_targets = 1  # target classes there, and with the weak trigger
# smoothed base models inside DPA
together = {"partitions": 50, "models": 100, "noise": 1.0, "rate": 0.03}
teachers = 200  # parts of PATE, by place
private_noise = [1.0, 2.0, 4.0, 8.0]  # noise multipliers of DP-SGD
private_training = {"optimizer": "sgd", "lr": 0.03, "epochs": 20.0, "batch_size": 512}  # of DP-SGD
counts = [1, 5, 20, 200]  # poisoned images in the table of guarantees
sound_images = [1, 2, 4]  # poisoned images where the guarantee is tested
sound_partitions = 50  # k there
sound_seeds = 4  # attack instances there: other images, other target classes
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run.

# %%
import math

import numpy as np
import pandas as pd

from lib import figures, privacy, study, verdicts
from lib.attacks.four_pixel import FourPixel
from lib.defences.dpsgd import DPSGD
from lib.defences.partition import Partition
from lib.defences.pate import PATE
from lib.defences.smoothing import Smoothing
from lib.metrics import mean_interval
from lib.study import Run, run
from lib.training import Training

# %% [markdown]
# ## The vote
# The part of a training image is a hash of its pixels modulo k. An image that the attacker stamps
# in place leaves one part and enters another, so it costs the certificate *two*: one deletion, one
# insertion. The feature extractor was fitted on public images outside of all parts; fitted on the
# parts' own images it would carry the poison past the certificate. The radius of a test
# image is half of the vote's gap: it cannot exceed k/2.


# %%
def start(setup, number, target, **attack):
    """The run of one attack instance."""
    return Run(**setup, model=model, precision=precision, attack=FourPixel(
        target=target, norm=norm, **attack), defence=Partition(partitions[0]), training=Training(
            lr=rates[0], momentum=0.9, **training), attack_seed=number, init_seed=number,
               noise_seed=number)


def instances(setup, names=targets, **attack):
    return [start(setup, number, target, **attack) for number, target in enumerate(names)]


# %% [markdown]
# Learning rates are chosen for the clean accuracy of the vote on a held-out tenth of the private
# images, before any attack.

# %%
clean = [one.with_(split="tune") for one in instances(shared, fraction=0.0)]
tuning = run(
    one.with_(defence=Partition(k), training__lr=rate)
    for k in partitions
    for rate in rates
    for one in clean[:2])
best = study.best(tuning, by="defence.partitions", choose="training.lr", on="accuracy")
shown = tuning.pivot_table(index="defence.partitions", columns="training.lr", values="accuracy",
                           aggfunc="mean", dropna=False).reset_index()
figures.table(shown.rename(columns={"defence.partitions": "k"}), id="partition-tuning",
              caption="Clean accuracy of the vote on held-out images, by learning rate.")

# %% [markdown]
# ## Figure 7, left: DPA against the share of poison
# The paper plots "certified accuracy" over 2, 5 and 10% of poison. No certificate can hold there:
# 2% of 10,000 images are 200 images changed in place, a cost of 400, and the radius ends at k/2.
# What can be plotted is the accuracy of an ensemble that was *trained* on poisoned data (marker),
# with the quartiles of its single models (boxes) and the share that is certified against one sample
# at least (cross).


# %%
def dpa(setup, names, ks, shares):
    """DPA at every k and share, for the k with a chosen rate."""
    known = [k for k in ks if k in best]
    return run((one.with_(defence=Partition(k), training__lr=best[k])
                for k in known
                for fraction in shares
                for one in instances(setup, names, fraction=fraction)), like=start(
                    setup, 0, names[0]))


main = dpa(shared, targets, partitions, [*fractions, 0.0])
quartiles = {
    place: f"facts.models_accuracy_{name}"
    for place, name in (("low", "q1"), ("middle", "median"), ("high", "q3"))
}
specs = [
    dict(frame=main[(main["defence.partitions"] == k) & (main["world"] == "P")],
         x="attack.fraction", ensemble="accuracy", mark="facts.certified_any",
         mark_label="certified against one sample", title=f"k {k}",
         xlabel="poisoned share of all training images", chance=0.1, **quartiles)
    for k in partitions
]
figures.show(
    figures.boxes(specs),
    id="ozyikan-F7L",
    data=study.tidy([main]),
    caption=(
        f"Figure 7, left: accuracy on clean test images, {len(targets)} target classes. Boxes:"
        " quartiles over single models; filled: the vote, with its 95% interval; cross: correct"
        " with a radius of at least 1."
    ),
    alt=(
        "Three panels of box plots of clean accuracy over the poisoned share, one for each number"
        " of partitions."
    ),
)

# %% [markdown]
# What is certified at all, and how far this attack is beyond it:

# %%
spec = dict(xlabel="radius [training images inserted or deleted]", series="k")
curves = study.certified(main[(main["attack.fraction"] == fractions[0]) & (main["world"] == "P")])
curves["k"] = [f"k {k:g}" for k in curves["defence.partitions"]]
spent = main[main["attack.fraction"] == fractions[0]]["facts.budget"].max()
vertical = [(spent, f"this attack: {spent:.0f}")] if spent == spent else []
figure = figures.certificates([
    spec | dict(frame=curves[curves["images"] == images], title=f"{images} images", xscale="log",
                ceilings={f"k {k}": k // 2
                          for k in partitions
                          }, vertical=vertical, ylabel="correct with this radius\n[% of images]")
    for images in ("clean", "triggered")
])
figures.show(
    figure,
    id="partition-certified",
    data=study.tidy(
        [curves],
        only=[
            "defence.partitions",
            "attack.target",
            "images",
            "radius",
            "correct",
            "called target",
        ],
    ),
    caption=(
        f"Certified accuracy of DPA over the number of samples, {fractions[0]:.0%} poisoned; short"
        " lines: the ceiling k/2."
    ),
    alt=(
        "Two panels of falling curves for three numbers of partitions, far left of the line that"
        " marks the attack."
    ),
)

# %% [markdown]
# The same in numbers, with the attack's success: a vote of many weak models is hardly backdoored,
# since a part of 20 to 200 images holds one to twenty triggers.

# %%
columns = {
    "accuracy": "accuracy", "facts.models_accuracy_median": "median model",
    "facts.certified_any": "certified, 1 sample", "facts.radius_max": "largest radius",
    "facts.budget": "samples changed", "facts.touched": "parts touched",
    "success": "attack success", "lift": "lift"
}
shown = study.means(main, by=["defence.partitions", "attack.fraction"], columns=columns,
                    intervals=("accuracy", "lift"))
figures.table(
    shown.rename(columns={"defence.partitions": "k", "attack.fraction": "poisoned share"}),
    id="partition-numbers",
    caption=(
        "DPA by number of parts and poisoned share (0: clean): means over target classes, 95% t"
        " intervals."
    ),
)

# %% [markdown]
# ## All private images, and a thousand parts
# More images a part make better models at the same radius. MNIST with 1,200 parts is the setting of
# DPA's own paper.

# %%
more = dpa(shared | larger, larger_targets, larger_partitions, [0.0, fractions[0]])
few_digits = [
    Run(**digits, model=digits_model, precision=precision, attack=FourPixel(
        target=0, norm=norm, fraction=fraction), defence=Partition(digits_partitions),
        training=Training(momentum=0.9, **digits_training)) for fraction in digits_fractions
]
thousand = run(few_digits)
columns = {
    "accuracy": "accuracy", "facts.certified_any": "certified, 1 sample",
    "facts.radius_max": "largest radius", "facts.size_min": "smallest part",
    "facts.size_max": "largest part", "facts.budget": "samples changed",
    "facts.touched": "parts touched", "success": "attack success", "lift": "lift"
}
shown = pd.concat([more, thousand],
                  ignore_index=True)[["dataset", "defence.partitions", "attack.fraction", *columns]]
figures.table(
    shown.rename(columns=columns
                 | {"defence.partitions": "k", "attack.fraction": "poisoned share"}),
    id="partition-larger", caption="DPA on all private images: single runs.")

# %% [markdown]
# ## Figure 7, right: RAB and DPA on the same poisoned data
# Clean accuracy over the poisoned share. RAB trains every model on *all* images, DPA on a part of
# them: that is what the figure shows, not a difference between certificates.

# %%
smooth = [
    one.with_(model=smoothing_model, defence=Smoothing(models, sigma), training=Training(
        momentum=0.9, lr=rate, **smoothing_training))
    for sigma, rate in smoothing_rates
    for fraction in [*fractions, 0.0]
    for one in instances(shared, fraction=fraction)
]
rab = run(smooth)
both = pd.concat([
    rab.assign(series=[f"RAB, noise {sigma:g}" for sigma in rab["defence.noise"]]),
    main.assign(series=[f"DPA, k {k:g}" for k in main["defence.partitions"]])
], ignore_index=True)
attacked = both[both["world"] == "P"]
axis = dict(frame=attacked, x="attack.fraction", series="series", xscale="category",
            xlabel="poisoned share of all training images")
figure = figures.panels([axis | dict(y="accuracy"), axis | dict(y="lift")])
figures.show(
    figure,
    id="ozyikan-F7R",
    data=study.tidy([attacked]),
    caption=(
        f"Figure 7, right: clean accuracy, and lift of the trigger, of RAB ({models} models) and"
        f" DPA on the same data, {len(targets)} target classes."
    ),
    alt=(
        "Two panels of lines over the poisoned share for three noise levels of RAB and three"
        " numbers of parts of DPA."
    ),
)

# %% [markdown]
# ## One axis: images poisoned in place
# RAB counts the norm of all patterns, DPA counts samples. With a trigger of a known norm both
# become a number of images: RAB withstands r images while sqrt(r) times the largest norm of one is
# below its radius, DPA half of its radius. But they speak of different changes: **RAB compares with
# the same flipped labels without the pattern, DPA with clean data, labels included.**
# Two more curves: votes of parts cut *by place*, as PATE's teachers are (one image in place costs
# one), and DPA over smoothed base models, where a vote costs as many images as outgrow the radius
# of its part.

# %%
weak = [
    one.with_(attack__norm=weak_norm)
    for one in instances(shared, fraction=fractions[0])[:together_targets]
]
by_place = run(
    one.with_(defence=Partition(teachers, by="index"), training__lr=rates[len(rates) // 2])
    for one in instances(shared, fraction=fractions[0]))
both_inside = run(
    one.with_(
        attack__norm=size, model=smoothing_model, training__lr=together["rate"], defence=Partition(
            together["partitions"], by="index", models=together["models"], noise=together["noise"]))
    for size in (norm, weak_norm)
    for one in instances(shared, fraction=fractions[0])[:together_targets])
weak_rab = run(
    one.with_(model=smoothing_model, defence=Smoothing(models, sigma), training=Training(
        momentum=0.9, lr=rate, **smoothing_training))
    for sigma, rate in smoothing_rates
    for one in weak)


# %% [markdown]
# Each certificate as a number of images; a trigger of norm 1 on the left, of norm .1 on the right.

# %%
def in_images(frame, name, rule, count):
    """Certified shares of clean images with the radius as a number of images.

    `count(radius, largest norm of one)`.
    """
    found = study.certified(frame[frame["world"] == "P"])
    found = found[(found["rule"] == rule) & (found["images"] == "clean")].copy()
    found["radius"] = [
        count(radius, each) for radius, each in zip(
            found["radius"], found.get("facts.each_max", pd.Series(np.nan, found.index)))
    ]
    return found.assign(series=name)


def squared(radius, each):
    return max(0, int(np.ceil((radius / each) ** 2)) - 1)


first = main[main["attack.fraction"] == fractions[0]]
votes = [
    in_images(first[first["defence.partitions"] == k], f"DPA, k {k}", "votes",
              lambda radius, _: radius // 2) for k in partitions
] + [in_images(by_place, "votes of parts by place", "votes", lambda radius, _: radius)]
panels = []
for size, frame in ((norm, rab[rab["attack.fraction"] == fractions[0]]), (weak_norm, weak_rab)):
    smoothed = [
        in_images(frame[frame["defence.noise"] == sigma], f"RAB, noise {sigma:g}", "nominal",
                  squared) for sigma, _ in smoothing_rates
    ]
    inner = in_images(both_inside[both_inside["attack.norm"] == size], "DPA over smoothed models",
                      "together", lambda radius, _: radius)
    panels.append(
        pd.concat([*smoothed, *votes,
                   inner]).groupby(["series", "attack.target", "attack_seed", "radius"],
                                   as_index=False, sort=False)["correct"].max())

# %% [markdown]
# Points left of 1 are images that are correct and not certified against a single poisoned image.

# %%
figure = figures.certificates([
    dict(frame=frame, series="series", xscale="log", title=f"trigger of norm {size:g}",
         xlabel="training images poisoned in place",
         ylabel="certified and correct\n[% of clean test images]")
    for size, frame in zip((norm, weak_norm), panels)
])
figures.show(
    figure,
    id="partition-common-axis",
    data=pd.concat([frame.assign(norm=size) for size, frame in zip((norm, weak_norm), panels)]),
    caption=(
        "Certified accuracy against the number of poisoned images. RAB and DPA over smoothed"
        " models: against the same labels without the pattern; the others: against clean data."
    ),
    alt="Two panels of falling curves for RAB, DPA, parts by place and both together.",
)

# %% [markdown]
# ## PATE and DP-SGD
# PATE's own votes on its public queries, without noise, certify them as DPA does: how many
# teachers, hence images changed in place, an answer withstands. DP-SGD certifies no image; its
# noise caps the *mean* attack success over the randomness of training.

# %%
asked = run(
    one.with_(
        defence=PATE(teachers, teacher=Training(lr=rates[
            len(rates) // 2], momentum=0.9, **training)), training=Training(
                "adam", 0.001, momentum=0.0, epochs=30.0, batch_size=128, sampling="shuffle"))
    for one in instances(shared, fraction=fractions[0]))
columns = {
    "facts.certified_1": "answers certified, 1 image", "facts.certified_median": "median radius",
    "accuracy": "student's accuracy", "success": "attack success", "lift": "lift"
}
figures.table(
    asked[["attack.target", *columns]].rename(columns=columns | {"attack.target": "target class"}),
    id="partition-pate",
    caption=f"PATE without noise, {teachers} teachers by place, {fractions[0]:.0%} poisoned.")

# %% [markdown]
# The cap of DP-SGD for r images in place (2 r adjacent steps under add-remove). Its clean rate is
# the upper end of the 95% interval of the triggered rate of models trained by the same algorithm on
# clean data.

# %%
sgd = run(
    one.with_(defence=DPSGD(z), training=Training(momentum=0.9, **private_training))
    for z in private_noise
    for fraction in (fractions[0], 0.0)
    for one in instances(shared, fraction=fraction))


def cap(frame, count):
    """The cap on attack success for `count` images in place, from the rows at one noise level."""
    interval = mean_interval(frame[frame["world"] == "C"]["success"].astype(float))
    if math.isnan(interval.high):
        return math.nan
    size = shared["train_size"] - shared["public"]
    rate, training = min(1.0, interval.high), Training(**private_training)
    return privacy.dpsgd_attack_success_cap(rate, frame["noise_multiplier"].iloc[0],
                                            training.batch_size / size, training.steps(size),
                                            2 * count)


# %% [markdown]
# What each certifies, on one page. *Clean data*: also the labels as they were. *Same labels*: the
# flipped labels stay, only the pattern goes. An attack at the published share changes hundreds of
# images: the last column but one.


# %%
def share_at(frame, name, count):
    """Certified share at a number of images, mean over instances."""
    own = frame[frame["series"] == name]
    known = own[own["radius"] >= count].groupby(["attack.target", "attack_seed"])["correct"].max()
    instances_ = own.groupby(["attack.target", "attack_seed"]).ngroups
    return known.sum() / instances_ if instances_ else float("nan")


lines = [{
    "guarantee": name, "trigger": f"norm {size:g}" if "smooth" in name or "RAB" in name else "any",
    "compared with": "same labels" if "smooth" in name or "RAB" in name else "clean data",
    "holds": "up to alpha, over the noise" if "smooth" in name or "RAB" in name else "always",
    **{f"{count} images": share_at(frame, name, count) for count in counts}
} for size, frame in zip((norm, weak_norm), panels) for name in dict.fromkeys(frame["series"]) if
         size == norm or "smooth" in name or "RAB" in name]
figures.table(pd.DataFrame(lines), id="partition-guarantees", digits=2, missing="–",
              caption="Certified accuracy on clean test images against images poisoned in place.")

# %% [markdown]
# DP-SGD beside it, the other way up: how much attack success it still allows.

# %%
capped = [{
    "noise multiplier": z, "epsilon": group["epsilon"].max(),
    "accuracy": group[group["world"] == "P"]["accuracy"].mean(),
    "measured attack success": group[group["world"] == "P"]["success"].mean(),
    "triggered rate, clean training": group[group["world"] == "C"]["success"].mean(), **{
        f"cap, {count} images": cap(group, count) for count in counts
    }
} for z, group in sgd.groupby("defence.noise_multiplier")]
figures.table(
    pd.DataFrame(capped),
    id="partition-cap",
    caption=(
        f"DP-SGD, {fractions[0]:.0%} poisoned: epsilon (delta 1e-5, add-remove, Poisson, PLD), and"
        " the cap on its mean attack success for a number of images poisoned in place."
    ),
)

# %% [markdown]
# ## Does the guarantee hold?
# Many re-trainings with a few poisoned images, each beside the same ensemble on clean data. A
# prediction whose radius reaches the number of changed samples must be the same in both, without
# exception; all models are trained together, and each is bit for bit the model that it would be
# alone. The same poison may flip the others: otherwise it would prove nothing.

# %%
sound = run((start(shared, number, number % 10, images=count).with_(
    defence=Partition(sound_partitions, twin=True), training__lr=best[sound_partitions])
             for count in sound_images
             for number in range(sound_seeds)
             if sound_partitions in best), like=start(shared, 0, 0))
columns = {
    "predictions": "predictions", "facts.certified_count": "certified against it",
    "facts.flips_certified": "of these, flipped", "facts.flips_other": "others flipped"
}
shown = sound.assign(predictions=sound["tested"] + sound["population"], retrainings=1).groupby(
    ["attack.images", "facts.budget"],
    as_index=False)[["retrainings", *columns]].sum(min_count=1).convert_dtypes()
figures.table(
    shown.rename(
        columns=columns | {"attack.images": "poisoned images", "facts.budget": "samples changed"}
    ),
    id="partition-sound",
    digits=6,
    caption=(
        f"DPA, k {sound_partitions}: predictions on clean and triggered test images in all"
        " re-trainings together."
    ),
)

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold that was
# fixed before the rows existed. *Fails* needs the interval on the other side and the positive
# control passed.

# %% tags=["nbval-check-output"]
rows = study.together(
    [tuning, main, more, thousand, rab, by_place, both_inside, weak_rab, asked, sgd, sound])
judged = verdicts.table(verdicts.evaluate({"41_partition": rows}))
judged = judged[judged["notebook"].eq("41_partition")]
print(judged[["id", "direction", "size", "measured", "interval", "n"]].to_string(index=False))

# %% [markdown]
# ## What it means
# **O7 and O8 hold, O9 and O10 are exact.** More parts certify more samples (largest radius 20 of 25
# at k = 50, 95 of 250 at k = 500) and cost accuracy (54% to 45% at 2% poison). RAB is more accurate
# on the same data, by 7 points [3.0, 11.1] at the worst share: each of its models sees all images.
# That is accuracy of trained ensembles. What figure 7 calls certified accuracy cannot be a
# certificate: 200 poisoned images are 400 changed samples.
#
# **Whether DPA is "prone to backdoors" is open**: at 2% poison its vote has a lift of 2 points or
# less, at 10% of 12 (k = 50) to 4 (k = 500), where RAB at noise 0.5 has 29 (notebook 40) on the
# same data. That does not turn the paper's suggestion around: attack success is 30 to 37% (DPA)
# against 40.5% (RAB) at 10%, at 40 to 52% accuracy against 59%, and no plain model stopped at DPA's
# accuracy was compared.
#
# **On one axis** the certificates for one poisoned image of norm 1 are 41 to 45% (DPA), 48% (200
# parts by place, where an image costs one) and nothing (RAB): the features of a single triggered
# image may move by more than any radius of a hundred models. With a trigger of norm .1 it is the
# same, but only by the image whose features it moves most: by 1.22, where the root mean square is
# .21, and the largest radius .84 at noise 1. Counted by that mean, such a radius would withstand
# fifteen images. So smoothed models inside
# parts by place buy nothing here either: every vote still costs one image.
#
# **DP-SGD's cap** for one image in place is 82, 33, 17 and 12% at noise 1, 2, 4 and 8 (measured: 6
# to 8% with 200 images); for twenty images it excludes nothing (epsilon 6.8, 2.3, .98, .45 at delta
# 1e-5, add-remove, Poisson sampling, PLD). It bounds a mean over trainings, not an image.
#
# **By experiment**: 20,182 predictions certified against one, two or four poisoned images, in
# twelve re-trainings: none flipped. Of the others 2,699 did.
#
# ## What to try next
# Change `partitions`, `norm` or `together` in the parameters cell and run again.
