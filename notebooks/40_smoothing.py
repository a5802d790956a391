# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Randomized smoothing against a backdoor
# *No radius reaches this attack, and what figure 4 shows rising is attack success.*
#
# Ozyikan, Sandoval and Khasar, sections 3.1 and 4.2: figures 1 to 6 and claims O1 to O6, O11 and
# O12, on RAB (Weber et al. 2021). N models are trained, each on its own noisy copy of the data, and
# their averaged probabilities predict. Then what the paper
# leaves out: what the radius is measured against, how much of it is left once its statistics are
# sound, the epsilon of smoothed DP-SGD models, and a test of the guarantee by experiment.

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
# two classes, as RAB's released code
binary = {
    "dataset": "cifar10-jpeg", "train_size": 6000, "test_size": 2000, "public": 2000,
    "features": "patches:64", "model": "linear"
}
# target class first; the first two are those of the released code
pairs = [[0, 2], [1, 5], [4, 7], [3, 8], [6, 9]]
# ten classes, as the text
ten = {
    "dataset": "cifar10-jpeg", "train_size": 20000, "test_size": 2000, "public": 10000,
    "features": "patches:64", "model": "linear"
}
targets = [0, 1, 2]  # their target classes
# two classes, noise on pixels
pixels = {
    "dataset": "mnist", "train_size": 5000, "test_size": 1500, "public": 0, "features": "none",
    "model": "linear"
}
pixel_pairs = [[1, 0], [6, 8]]  # target class first, as in the released code
pixel_sigmas = [0.5, 2.0]  # smoothing noise there
pictured = "strokes-colour"  # data set of the picture of the trigger, drawn here
# of one model
training = {"optimizer": "sgd", "epochs": 3.0, "batch_size": 128, "sampling": "shuffle"}
# learning rates to choose from, on clean held-out images; the middle one where none is chosen
rates = [0.003, 0.01, 0.03]
tuning_models = 20  # models of an ensemble while the rate is chosen
sigmas = [0.5, 1.0, 2.0]  # smoothing noise: standard deviation on each input
other_sigma = 5.0  # figure 5 prints sigma 5 where the study has .5
fractions = [0.02, 0.05, 0.1]  # poisoned share of the whole training set
norm = 1.0  # the trigger's l2 norm on an image with pixels in [0, 1]
models = 1000  # N of figures 3, 4
few_models = 100  # N of figure 5, of the ten classes, of the pixels and of DP-SGD
dp_noises = [0.5, 1.0, 2.0, 5.0]  # figure 6: noise multipliers of caption and text
dp_fractions = [0.02, 0.1]  # poisoned shares there
dp_rates = [0.03, 0.1, 0.3]  # learning rates to choose from, for DP-SGD
dp_norm = 1.0  # clipping norm C
# noise on pixels below features that are computed anew for every copy, and models
space = [[0.1, 100]]
space_fraction = 0.05  # poisoned share there, and where training worlds are compared
# images that carry a weak trigger where the guarantee is tested
sound_poisons = {"binary": [2, 4], "pixels": [4, 12]}
sound_norm = 0.1  # the weak trigger's norm
sound_sigma = 1.0  # smoothing noise there
sound_models = 100  # models there, twice
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run.

# %%
from dataclasses import replace

import pandas as pd
import torch

from lib import data, figures, study, verdicts
from lib.attacks.four_pixel import FourPixel
from lib.defences.dpsgd import DPSGD
from lib.defences.smoothing import Smoothing, ceiling
from lib.metrics import mean_interval
from lib.papers.ozyikan import certified
from lib.study import Run, run, worlds
from lib.training import Training

# %% [markdown]
# ## The attack
# Figure 2 of the paper: a small value is added to four fixed pixels of images from all classes but
# the target, which get the target's label. Its norm is what a certificate in l2 is about. Patterns
# are clipped at white and rounded to whole grey levels, so that every certificate below is held
# against the norm that was *realised*.

# %%
picture = data.load(pictured, train_size=100, test_size=20).train_images[:3]
stamped = FourPixel(norm=norm).trigger(picture, seed=0)
weak = FourPixel(norm=sound_norm).trigger(picture, seed=0)
figure = figures.image_grid(torch.cat([picture, stamped, weak]),
                            ["clean"] * 3 + [f"norm {norm:g}"] * 3 + [f"norm {sound_norm:g}"] * 3,
                            columns=9)
figures.show(
    figure,
    id="ozyikan-F2",
    caption="Figure 2: images before and after the four-pixel trigger, at two norms.",
    alt=(
        "Three images, then the same with four brighter pixels in the middle, then with hardly"
        " visible ones."
    ),
)

# %% [markdown]
# ## Three set-ups
# The released code of RAB is binary and small, the paper speaks of ten classes and of a subset.
# Both, and a third one on pixels:
#
# | set-up | data | noise lies on |
# |---|---|---|
# | two classes | pairs of classes, frozen features of public images | features, as is the radius |
# | ten classes | a subset, frozen features of public images | features |
# | pixels | pairs of digits, no features | pixels in [0, 1] |
#
# On features the certificate says how far the poisons' features may have moved, not their pixels.
# The last part puts noise on pixels below the features, which must then be computed anew for every
# noisy copy.


# %%
def start(setup, number, name, **attack):
    """The run of one attack instance: `name` is a pair of classes (target first) or a target among
    all classes.
    """
    own = dict(setup, dataset=f"{setup['dataset']}:{name[0]}-{name[1]}") if isinstance(
        name, list) else setup
    trigger = FourPixel(target=0 if isinstance(name, list) else name, norm=norm, **attack)
    return Run(**own, precision=precision, attack=trigger, training=Training(
        momentum=0.9, lr=rates[0], **training), defence=Smoothing(models, sigmas[0]),
               attack_seed=number, init_seed=number, noise_seed=number)


def instances(setup, names, **attack):
    return [start(setup, number, name, **attack) for number, name in enumerate(names)]


# %% [markdown]
# The same models without noise on their inputs: is there a backdoor at all? A linear model on
# features learns it.

# %%
setups = {
    "two classes": (binary, pairs), "ten classes": (ten, targets), "pixels": (pixels, pixel_pairs)
}
plain = {
    name: run(one
              for fraction in fractions
              for instance in instances(setup, names, fraction=fraction)
              for one in worlds(
                  instance.with_(defence=DPSGD(0.0, clip=False), training__lr=rates[len(rates) //
                                                                                    2]), "PC"))
    for name, (setup, names) in setups.items()
}
undefended = pd.concat([frame.assign(setup=name) for name, frame in plain.items()])
shown = undefended[undefended["world"] == "P"]
columns = {
    "accuracy": "accuracy", "floor": "target without trigger", "success": "attack success",
    "lift": "lift"
}
figures.table(
    study.means(shown, by=["setup", "attack.fraction"], columns=columns).rename(
        columns={"attack.fraction": "poisoned share"}
    ),
    id="smoothing-undefended",
    caption=(
        "Undefended models by set-up and poisoned share of all training images: means over"
        " instances, 95% t intervals where there are several."
    ),
)

# %% [markdown]
# ## Tuning, before any attack
# The learning rate of each noise level is chosen for the ensemble's accuracy on a held-out tenth of
# clean private images.


# %%
def tune(setup, names, levels, candidates, **fields):
    """The best rate of each level of `levels` ({label: defence}) that was measured, over the first
    two instances; and the rows.
    """
    clean = [
        one.with_(split="tune", **fields).in_world("C")
        for one in instances(setup, names[:2], fraction=fractions[0])
    ]
    frame = run(
        one.with_(defence=replace(defence, models=tuning_models), training__lr=rate)
        for defence in levels.values()
        for rate in candidates
        for one in clean)
    frame["level"] = [label for label in levels for _ in candidates for _ in clean]
    return study.best(frame, by="level", choose="training.lr", on="accuracy"), frame


levels = {sigma: Smoothing(tuning_models, sigma) for sigma in [*sigmas, other_sigma]}
tuned = {name: tune(setup, names, levels, rates) for name, (setup, names) in setups.items()}
dp_levels = {
    noise: Smoothing(tuning_models, sigmas[0], max_grad_norm=dp_norm, noise_multiplier=noise)
    for noise in dp_noises
}
dp_tuned = tune(binary, pairs, dp_levels, dp_rates, training__sampling="poisson")

# %% [markdown]
# The chosen rates; one at an edge of its grid may not be the best there is.

# %%
choices = [{"set-up": name, "smoothing noise": sigma, "DP noise": "–", "rate": rate}
           for name, (best, _) in tuned.items()
           for sigma, rate in best.items()]
choices += [{
    "set-up": "two classes, DP-SGD", "smoothing noise": sigmas[0], "DP noise": f"{noise:g}",
    "rate": rate
} for noise, rate in dp_tuned[0].items()]
figures.table(pd.DataFrame(choices), id="smoothing-tuning", digits=2,
              caption="Learning rate by set-up and noise, chosen on held-out clean images.")

# %% [markdown]
# ## Figures 3 and 4
# The text discusses medians and quartiles "of N unique classifiers", and plots "certified accuracy"
# without a radius. Both
# readings: the boxes are the quartiles of the single models, the filled marker is the smoothed
# prediction, the cross counts it only where its radius is above 0.


# %%
def smoothed(setup, names, best, count, *, noises=sigmas, shares=(*fractions, 0.0)):
    """A run for every noise, share (0: the clean twin) and instance."""
    def at(sigma, **attack):
        return [
            one.with_(defence=Smoothing(count, sigma), training__lr=best[sigma])
            for one in instances(setup, names, **attack)
        ]
    # a rate not chosen yet: nothing to ask for
    known = [sigma for sigma in noises if sigma in best]
    return run(
        [one for sigma in known for fraction in shares for one in at(sigma, fraction=fraction)],
        like=start(setup, 0, names[0]))


main = smoothed(binary, pairs, tuned["two classes"][0], models, shares=fractions)

# %% [markdown]
# Figure 3: clean test images.


# %%
settings = [
    "dataset", "attack.target", "attack.fraction", "defence.noise", "defence.models",
    "defence.noise_multiplier", "world", "facts.epsilon_model", "epsilon"
]
quartiles = {
    kind: [f"facts.models_{kind}_{place}"
           for place in ("q1", "median", "q3")]
    for kind in ("accuracy", "truth", "success")
}
on_clean = [*settings, "accuracy", "facts.certified_any", *quartiles["accuracy"]]
on_triggered = [
    *settings, "success", "lift", "facts.truth", "facts.certified_triggered", "facts.printed",
    *quartiles["truth"], *quartiles["success"]
]


def panel(frame, sigma, kind, ensemble, mark, **more):
    """One panel of box plots at one noise level."""
    own = frame[(frame["defence.noise"] == sigma) & (frame["world"] == "P")]
    box = dict(zip(("low", "middle", "high"), quartiles[kind]))
    return dict(frame=own, x="attack.fraction", ensemble=ensemble, mark=mark,
                title=f"noise {sigma:g}", xlabel="poisoned share of all training images", **box,
                **more)


figure = figures.boxes([
    panel(main, sigma, "accuracy", "accuracy", "facts.certified_any",
          mark_label="certified, radius above 0", chance=0.5) for sigma in sigmas
])
figures.show(
    figure,
    id="ozyikan-F3",
    data=study.tidy([main], only=on_clean),
    caption=(
        f"Figure 3: accuracy on clean test images, two classes, {models} models, {len(pairs)}"
        " pairs. Boxes: quartiles over single models; filled: smoothed prediction with its 95%"
        " interval over pairs; cross: certified at all."
    ),
    alt="Three panels of box plots of accuracy over the poisoned share, one for each noise level.",
)

# %% [markdown]
# Figure 4, "certified accuracy on poisoned test images", rises with the poison in the paper. RAB's
# training script gives its poisoned test set the *target's* label, and leaves images of the target
# class in: the number it prints is an attack success
# rate. Above: triggered images by their true labels. Below: the same images counted as attack
# success.

# %%
figure = figures.boxes([
    panel(main, sigma, "truth", "facts.truth", "facts.certified_triggered",
          mark_label="certified, radius above 0", ylabel="true label\n[% of triggered images]",
          chance=0.5) for sigma in sigmas
] + [
    panel(main, sigma, "success", "success", "facts.printed",
          mark_label="as RAB's script prints it", ylabel="called target\n[% of triggered images]")
    for sigma in sigmas
])
figures.show(
    figure,
    id="ozyikan-F4",
    data=study.tidy([main], only=on_triggered),
    caption=(
        "Figure 4 in both readings: triggered test images by their true label, and as attack"
        " success; the second mark below also counts images of the target class."
    ),
    alt=(
        "Six panels of box plots over the poisoned share: true-label accuracy falls, attack success"
        " rises."
    ),
)

# %% [markdown]
# ## What is certified
# The radius is compared with the norm of *all* patterns together: sqrt(r) times that of one image.
# Whatever the models say, the published radius cannot exceed sigma times the normal quantile of 1 -
# sqrt(ln(1/alpha) / 2N): 1.565 sigma for a thousand models.
# Three rules: *nominal* as published; *union*, corrected for having chosen the top classes by
# looking; *votes*, the majority of the models with exact binomial bounds.

# %%
rules = study.certified(main[(main["world"] == "P") & (main["attack.fraction"] == fractions[0])])
rules = rules[rules["images"] == "clean"].assign(
    series=lambda frame: frame["rule"],
    pair=lambda frame: [name.partition(":")[2] for name in frame["dataset"]])
spec = dict(xlabel="certified radius [l2 norm of all patterns, features]", series="series")
figure = figures.certificates([
    spec | dict(frame=rules[rules["defence.noise"] == sigma], title=f"noise {sigma:g}",
                ylabel="correct with this radius\n[% of clean test images]",
                ceilings={"nominal": ceiling(models, sigma, 0.999)}) for sigma in sigmas
], columns=3)
figures.show(
    figure,
    id="smoothing-certified",
    data=study.tidy([rules[rules["correct"] > 0].round(3)],  # no line: nothing is certified
                    only=["pair", "defence.noise", "rule", "radius", "correct"]),
    caption=(
        f"Certified accuracy over the radius, {fractions[0]:.0%} poisoned, two classes, {models}"
        " models; short line: the ceiling of the nominal radius."
    ),
    alt="Three panels of falling curves for three rules of certification.",
)

# %% [markdown]
# The attack beside the ceilings: no image is certified against it, at any share or noise level, and
# none could be.

# %%
against = pd.concat(
    [frame[frame["world"] == "P"].assign(setup=name) for name, frame in (("two classes", main), )])
columns = {
    "facts.poisons": "poisoned images", "facts.each": "norm of one", "facts.budget": "norm of all",
    "facts.radius_ceiling": "ceiling of the radius", "facts.radius_max": "largest radius",
    "facts.certified_count": "predictions certified"
}
shown = against.groupby(["setup", "defence.noise", "attack.fraction"],
                        as_index=False)[list(columns)].mean()
figures.table(
    shown.rename(columns=columns | {"defence.noise": "noise", "attack.fraction": "poisoned share"}),
    id="smoothing-budget",
    caption=(
        "What the attack spends and what RAB can certify at most, in l2; means over pairs."
        " Predictions: clean and triggered test images together."
    ),
)

# %% [markdown]
# What the corrections cost, in the largest radius there can be (alpha .001, ten classes for the
# union):

# %%
limits = pd.DataFrame([{
    "models": count, "nominal": ceiling(count, 1.0, 0.999), "union, two classes": ceiling(
        count, 1.0, 0.999, correction="union", classes=2), "union, ten classes": ceiling(
            count, 1.0, 0.999, correction="union")
} for count in (50, 100, 1000, 10000)])
figures.table(limits, id="smoothing-ceilings", digits=4,
              caption="Largest possible radius in units of the smoothing noise.")

# %% [markdown]
# ## Against what
# The guarantee compares the poisoned training set with *the same labels without the patterns*
# (world L), for the same test
# image: not with clean data (world C). What flipped labels do alone, no radius speaks of. Both
# halves of the table are the same ensembles; "without trigger" and "with trigger" are test images.

# %%
compared = run((one.with_(training__lr=tuned["two classes"][0][sigma])
                for sigma in sigmas if sigma in tuned["two classes"][0]
                for instance in instances(binary, pairs, fraction=fractions[-1])
                for one in worlds(instance.with_(defence=Smoothing(few_models, sigma)))),
               like=start(binary, 0, pairs[0]))
columns = {
    "accuracy": "accuracy", "facts.truth": "true label, with trigger",
    "floor": "target without trigger", "success": "target with trigger",
    "facts.certified_any": "certified at all"
}
figures.table(
    study.means(
        compared,
        by=["defence.noise", "world"],
        columns=columns,
        intervals=("accuracy", "facts.certified_any"),
    ).rename(columns={"defence.noise": "noise"}),
    id="smoothing-worlds",
    caption=(
        f"{few_models} models at {fractions[-1]:.0%} poison in training worlds P (stamped and"
        f" relabelled), L (relabelled only) and C (clean); 95% t intervals over {len(pairs)} pairs."
    ),
)

# %% [markdown]
# ## Figure 5, ten classes, and pixels
# A hundred models in place of a thousand, with the noise that the study has (.5) and the one that
# the figure prints (5).

# %%
few = smoothed(binary, pairs, tuned["two classes"][0], few_models, noises=[*sigmas, other_sigma])
places = {
    "ten classes": smoothed(ten, targets, tuned["ten classes"][0], few_models), "pixels": smoothed(
        pixels, pixel_pairs, tuned["pixels"][0], few_models, noises=pixel_sigmas)
}
figure = figures.boxes([
    panel(few, sigma, kind, value, mark, mark_label=label, ylabel=ylabel)
    for sigma in (sigmas[0], other_sigma)
    for kind, value, mark, label, ylabel in (("accuracy", "accuracy", "facts.certified_any",
                                              "certified, radius above 0",
                                              "correct\n[% of clean test images]"),
                                             ("success", "success", "facts.printed",
                                              "as RAB's script prints it",
                                              "called target\n[% of triggered images]"))
], columns=2)
figures.show(
    figure,
    id="ozyikan-F5",
    data=study.tidy([few], only=[*on_clean, *on_triggered[len(settings) :]]),
    caption=(
        f"Figure 5: clean (left) and triggered (right) test images with {few_models} models, at"
        f" noise {sigmas[0]:g} and {other_sigma:g}, two classes."
    ),
    alt="Four panels of box plots over the poisoned share.",
)

# %% [markdown]
# The same for ten classes on features and for two digits on pixels.

# %%
titles = {"ten classes": 0.1, "pixels": 0.5}
figure = figures.boxes([
    panel(frame, sigma, "accuracy", "accuracy", "facts.certified_any",
          mark_label="certified, radius above 0", chance=titles[name])
    | {"title": f"{name}, noise {sigma:g}"}
    for name, frame in places.items()
    for sigma in (sigmas if name == "ten classes" else pixel_sigmas)
])
figures.show(figure, id="smoothing-places", data=study.tidy(places.values(), only=on_clean),
             caption=f"Figure 3 for ten classes and on pixels, {few_models} models.",
             alt="Panels of box plots of clean accuracy over the poisoned share.")

# %% [markdown]
# Attack success in numbers, with the true-label accuracy of the same images.

# %%
everything = pd.concat([
    frame[frame["world"] == "P"].assign(setup=name)
    for name, frame in (("two classes, N 1000", main), ("two classes, N 100", few), *places.items())
])
columns = {
    "accuracy": "accuracy", "facts.truth": "true label, triggered", "success": "attack success",
    "facts.printed": "as printed", "lift": "lift", "facts.certified_any": "certified at all",
    "facts.certified_union": "after correction"
}
figures.table(
    study.means(
        everything,
        by=["setup", "defence.noise", "attack.fraction"],
        columns=columns,
        intervals=("success", "lift"),
    ).rename(columns={"defence.noise": "noise", "attack.fraction": "poisoned share"}),
    id="smoothing-numbers",
    caption=(
        "Smoothed predictions: means over instances, 95% t intervals; attack success of all"
        " triggered test images of other classes. Certified at all: correct clean test images with"
        " a nominal radius above 0; after correction: with the union's radius."
    ),
)

# %% [markdown]
# ## Figure 6: DP-SGD inside
# Each of the models is trained by DP-SGD (C = 1, Poisson batches). The paper gives no epsilon.
# Every record is in every model, so that what is published, all of them, costs as much as one
# training of N times the steps: beside the epsilon of one model stands that of the ensemble.

# %%
private = run((one.with_(defence=replace(defence, models=few_models),
                         training__lr=dp_tuned[0][noise], training__sampling="poisson")
               for noise, defence in dp_levels.items() if noise in dp_tuned[0]
               for fraction in (dp_fractions if noise > dp_noises[0] else [*dp_fractions, 0.0])
               for one in instances(binary, pairs, fraction=fraction)), like=start(
                   binary, 0, pairs[0]))
figure = figures.boxes([
    panel(private.assign(**{"defence.noise": private["defence.noise_multiplier"]}), noise,
          "accuracy", "accuracy", "facts.certified_any", mark_label="certified, radius above 0",
          chance=0.5)
    | {"title": f"DP noise {noise:g}"} for noise in dp_noises
])
figures.show(
    figure,
    id="ozyikan-F6",
    data=study.tidy([private], only=on_clean),
    caption=(
        f"Figure 6: clean accuracy with DP-SGD inside, C = {dp_norm:g}, smoothing noise"
        f" {sigmas[0]:g}, {few_models} models, two classes."
    ),
    alt="Panels of box plots of clean accuracy over the poisoned share, one for each DP noise.",
)

# %% [markdown]
# Epsilon at delta 1e-5, add-remove, Poisson sampling, PLD.

# %%
attacked = private[private["world"] == "P"]
columns = {
    "facts.epsilon_model": "epsilon of one model", "epsilon": "epsilon of all",
    "accuracy": "accuracy", "success": "attack success", "lift": "lift",
    "facts.certified_any": "certified at all"
}
shown = study.means(attacked, by=["defence.noise_multiplier", "attack.fraction"], columns=columns,
                    intervals=("success", "lift"))
shown["epsilon of one model"] = shown["epsilon of one model"].fillna(float("inf"))
figures.table(
    shown.rename(
        columns={"defence.noise_multiplier": "DP noise", "attack.fraction": "poisoned share"}
    ),
    id="smoothing-private",
    caption=(
        f"RAB on DP-SGD models, {few_models} of them: means over {len(pairs)} pairs, 95% t"
        " intervals. Epsilon: delta 1e-5, add-remove, Poisson sampling, PLD; ∞: no guarantee."
    ),
)

# %% [markdown]
# With DP-SGD inside minus the same ensembles without it, pair by pair, at the largest poisoned
# share. Other settings differ too, and share in whatever differs.

# %%
contrast, differs = certified.without_dp_table(study.together([main, few, private]))
figures.table(
    contrast,
    id="smoothing-without-dp",
    missing="–",
    caption=(
        f"RAB with DP-SGD inside minus RAB without, points [95% t interval], {few_models} models,"
        f" smoothing noise {sigmas[0]:g}, two classes."
    ),
)
print("besides DP-SGD these differ:", differs)

# %% [markdown]
# ## Noise on pixels below features
# A certificate in pixels for the same network needs the features of every noisy copy, of training
# and of test images. Noise that leaves the features something to see certifies little, and the
# published levels leave hardly anything.

# %%
below = run(
    (one.with_(defence=Smoothing(count, sigma, space="pixels"), training__lr=rates[len(rates) // 2])
     for sigma, count in space
     for one in instances(binary, pairs[:1], fraction=space_fraction)
     if tuned["two classes"][0]), like=start(binary, 0, pairs[0]))
columns = {
    "accuracy": "accuracy", "success": "attack success", "facts.certified_any": "certified at all",
    "facts.each": "norm of one", "facts.budget": "norm of all", "facts.radius_max": "largest radius"
}
figures.table(
    below[["defence.noise", "defence.models", *columns]].rename(
        columns=columns | {"defence.noise": "noise on pixels", "defence.models": "models"}
    ),
    id="smoothing-space",
    caption=(
        "Noise on pixels in [0, 1], features computed anew for each copy; first pair,"
        f" {space_fraction:.0%} poisoned; norms in pixels."
    ),
)

# %% [markdown]
# ## Does the guarantee hold?
# A few images with a weak trigger, so that some predictions are certified against them. A second
# ensemble, with noise of its own, is trained on the same labels without the patterns: no certified
# prediction may differ, up to the failure probability (alpha .001 a prediction) and to the noise of
# the second ensemble, which is an estimate too. *Confirmed* flips are those where the second
# ensemble is as sure of another class.

# %%
tests = {
    "binary": (binary, pairs, tuned["two classes"][0]),
    "pixels": (pixels, pixel_pairs, tuned["pixels"][0])
}
sound = run((one.with_(attack__images=count, attack__norm=sound_norm, defence=Smoothing(
    sound_models, sound_sigma, twin=True), training__lr=best[sound_sigma])
             for name, (setup, names, best) in tests.items() if sound_sigma in best
             for count in sound_poisons[name]
             for one in instances(setup, names)), like=start(binary, 0, pairs[0]))
columns = {
    "facts.budget": "norm of all", "facts.certified_count": "certified against it",
    "facts.flips_certified": "of these, flipped", "facts.flips_confirmed": "confirmed",
    "facts.flips_other": "others flipped"
}
shown = sound.assign(predictions=sound["tested"] + sound["population"])[[
    "dataset", "attack.images", "predictions", *columns
]]
figures.table(
    shown.rename(columns=columns | {"attack.images": "poisoned images"}),
    id="smoothing-sound",
    caption=(
        f"Predictions on clean and triggered images, {sound_models} models a side, noise"
        f" {sound_sigma:g}, trigger of norm {sound_norm:g}; certified: nominal radius beyond the"
        " norm of all patterns."
    ),
)

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold that was
# fixed before the rows existed. Those of O1 to O6 were looked at with three pairs, and two were
# added (see below). *Fails* needs the interval on the other side and the positive control passed:
# the clean ensemble beats chance.

# %% tags=["nbval-check-output"]
rows = study.together([
    undefended, *(frame for _, frame in tuned.values()), dp_tuned[1], main, compared, few,
    *places.values(), private, below, sound
])
judged = verdicts.table(verdicts.evaluate({"40_smoothing": rows}))
judged = judged[judged["notebook"].eq("40_smoothing")]
print(judged[["id", "direction", "size", "measured", "interval", "n"]].to_string(index=False))

# %% [markdown]
# ## What it means
# **No certificate reaches the attack.** With 2% poison (80 of 4,000 images) the patterns together
# have a norm of 17.4, between features and not pixels, with 10% one of 39.1; the radius of a
# thousand models ends at 0.78, 1.57 and 3.13 for noise 0.5, 1 and 2: it scales with the noise, and
# a thousand models at noise 12 would reach the 2%, if they still saw anything. Not one prediction
# is certified against it, whatever the models say. "Certified accuracy" in figure 3 is then
# ordinary accuracy under another name: at noise .5 and 2%, 91.3% of the clean images are right and
# 88.6% have a radius above 0. It falls with the poison (O1), and the median model's with the noise
# (O2), as the paper says.
#
# **Figure 4 is attack success.** From 2% to 10% poison (noise .5) the true-label accuracy of
# triggered images falls from 86% to 61%; attack success, of the 1,000 triggered images of the other
# class and on average over five pairs, rises from 14% to 39% (intervals are
# wide, see the table: pairs differ), and the number that RAB's script prints from 54% to 69%. The
# two go together in every pair (correlation .99, O4's size).
#
# **The quartiles widen.** The paper finds the models more alike with more noise (O3). Here the
# interquartile range of their accuracy grows from 3 points at noise .5 to 13 at noise 2 (2%
# poison), in all pairs alike: the claim fails, by 10.6 points [8.6, 12.6] over the shares. Why was
# not tested (a model adds one fixed noise vector to every test image, and a larger one may shift it
# more). Their average is steadier: it loses 1 to 2 points of accuracy where the median model
# loses 5.
#
# **Noise lowers the lift, without any certificate**: at 10% poison from 20 points (noise .5) to 4.5
# (noise 2), for less than one point of accuracy. Whether stopping early would do as much was not
# asked here; notebook 11 shows how to ask.
#
# **The flipped labels are outside of the promise.** At 10% poison and noise .5 the labels alone (L)
# take accuracy from 91.3% to 87.6% and make 22% of untriggered images of the other class the
# target, where clean data make it 9%. RAB compares P with L, so none of that is excluded by any
# radius.
#
# **A hundred models show the same signs** at a lower ceiling (.447 for noise .5): 81% in place of
# 89% are certified at all.
#
# **DP-SGD inside.** O6 compares levels of DP noise with one another: more of it certifies less with
# every step. Against the *same ensemble without DP-SGD* the rows point the other way (table above,
# 10% poison, five pairs): at DP noise 0.5 accuracy differs by +0.9 points [-0.5, 2.4], lift by
# -10.5 [-14.0, -7.0] and certified accuracy by +8.1 [5.9, 10.4]; at noise 2 by +1.1, -13.0 and
# +2.5. The lift is lower in each of the five pairs, and no loss of accuracy is measurable. But more
# differs than DP-SGD: its learning rate is 0.3 where the others have 0.03, and its batches are
# Poisson samples where theirs are shuffled. Notebook 64 varies rate, clipping and noise one by one
# with one sampler: clipping alone lowers the lift as much as clipping with noise 0.5 does (by 10.3
# and 10.2 points at rate 0.3), and so does a lower rate without clipping. Noise 0.5 is not what
# helps. Epsilon (delta 1e-5, add-remove, Poisson sampling, PLD) is 12.9, 2.2, 0.65 and 0.21 for one
# model and 166, 25, 8.0 and 2.6 for the hundred that are used.
#
# **The guarantee held where it says something**: of 28,534 predictions certified against a few weak
# patterns none flipped, of the others 532 did.
#
# **Verdicts after a second look.** With three pairs O1 to O6 were all inconclusive: the clean
# ensembles, of very different difficulty, did not beat chance by the 20 points that the control
# asks for. Two pairs were then added, and with five O1, O2, O6 and O4's size hold and O3 fails.
# Intervals at 95% allow for one look, so these verdicts carry a mark. The rise of the printed
# number (O4's direction, O5) is clear at noise .5 and 1; at noise 2 it is 8 points [-1, 17] with a
# thousand models and 10 [-4, 23] with a hundred, and the worst level decides.
#
# ## What to try next
# Change `norm` or `fractions` in the parameters cell and run again, or `setups`' models: `head` in
# place of `linear` takes six times as long.
