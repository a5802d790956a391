# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Targeted poisoning with one record
# *Best of 20 poisons and of 50 epochs, the attack gets 15 of 25 targets from the vanilla softmax
# regression and 18 at clipping norm 0.1; plain training at the smallest of four rates, which hardly
# moves the base, loses 1 and is more accurate than either.*
#
# Hong et al., section 6.3: figures 5 and 7, table 4, claims G10 and G11.

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("52_one_shot")

# %% [markdown]
# ## Method
# *Poison Frogs* (Shafahi et al. 2018): the attacker knows a trained network, takes a test record of
# the wanted class (the donor) and moves it, without changing its label, until the network gives it
# nearly the features of one test record, the target. The victim appends it to its training data and
# trains on. For features $f$, target $t$ and donor $d$ the poison is
#
# $$\arg\min_x \; \lVert f(x) - f(t) \rVert^2 + \beta \lVert x - d \rVert^2.$$
#
# The attacker tries up to 20 donors, one after the other, each in a re-training of its own. The
# paper counts the target as hit if *any* of these re-trainings has it wrong (here: gives it the
# wanted label) at *any* epoch, while accuracy is at most 5% below that of a clean re-training. So
# many looks find something without an attack, too: the *natural* rate is what the same rule finds
# in as many clean re-trainings, each with batches and noise of its own.
#
# Each target has a base of its own, and its own batches, so that intervals over targets cover both.
# The MLP (Fashion-MNIST) and the CNN (CIFAR-10) take hours: there the attacker tries 5 donors, all
# targets share one base, and the victim trains on with fixed images, the first 10,000 for 20 epochs
# and the first 2,500 for 5. `params/paper` re-trains the MLP on all images.

# %% [markdown]
# ## Set-up and parameters
# First what a reader seldom changes. `papermill` and the files of `params/` can set any name of
# both cells. Table 4 of the paper lists its networks; it says one hidden layer of 256 where the
# released code has two, which are taken here.

# %% tags=["setup"]
private_norm = 1.0  # clipping norm of the re-trainings with a proper epsilon
pictured = 0  # the target of figure 7
whole = []  # cases that are re-trained on all records of the base, as in the paper

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing. The paper has 100 targets.

# %% tags=["parameters"]
# settings by case, a key of lib.papers.hong.targeted.VICTIMS; noise as the paper prints it
chosen = {
    "location": ["vanilla", "C 8", "C 4", "C 2", "C 1", "C 0.1", "C 4, noise 0.001",
                 "C 4, noise 0.01", "C 4, noise 0.1", "C 4, noise 0.4", "C 4, noise 0.8",
                 "C 4, noise 1", "C 4, noise 2", "C 4, noise 4"],
    "fashion-mlp": ["vanilla", "C 8", "C 4", "C 2", "C 1", "C 0.1", "C 2, noise 0.8"],
    "cifar-cnn": ["vanilla", "C 8", "C 4", "C 1", "C 0.1", "C 4, noise 0.4"],
}
targets = 25  # attack instances, the first test records of a class
main = "location"  # the case of everything below figure 5
epsilons = [1.0, 3.0]  # of a re-training with per-sample DP, delta 1e-5
rates = [0.01, 0.003, 0.001, 0.0003]  # smaller learning rates of plain re-trainings

# %% [markdown]
# Purchase-100 cannot be had here; Location-30 (2,505 records of 446 bits) stands for it. A setting
# holds for base and re-training.

# %%
from lib import figures, study, verdicts
from lib.papers.hong import resistance, search, targeted
from lib.study import run

frame = run(targeted.figures(chosen, targets=targets, whole=whole))
private = run(targeted.proper(main, epsilons, targets=targets, norm=private_norm))
slower = run(targeted.slower(main, rates, targets=targets))
found = search.of(search.outcomes(study.together([frame, private, slower])))

# %% [markdown]
# ## Figure 5: success over clipping norm and noise
# The paper finds that a small norm at least halves the attack at little cost. RAD is what the
# setting itself costs: the relative drop of clean accuracy below the vanilla re-training. Where
# blue and orange overlap, the attack does nothing that chance does not do.

# %%
shown = resistance.settings(found)
specs = resistance.panels(shown)
figures.show(
    figures.proportions(specs, by=search.ARM), id="hong-F5",
    data=study.tidy([spec["frame"] for spec in specs]), finding=resistance.finding(found),
    caption=("Figure 5 of Hong et al.: targets hit, by the paper's rule, by the same rule without"
             " poison, and with one poison chosen beforehand at the last epoch; 95%"
             " Clopper-Pearson intervals."),
    alt="A panel a model: for each setting the share of targets hit, attacked and by nature.",
)

# %% [markdown]
# The same in numbers, with the denominators: targets without a poison within the paper's distance
# of 3.5 cannot be attacked and do not count.

# %%
figures.table(
    resistance.table(found), id="one-shot-rates", missing="–",
    caption=("Per cent of targets by each rule, with 95% Clopper-Pearson intervals; *natural*: the"
             " rule applied to clean re-trainings. RAD: what the setting costs on clean data."),
)

# %% [markdown]
# ## Beside plain training that is as accurate
# A defence that trains less is attacked less. So each DP setting stands beside plain re-training of
# the same base at a smaller rate, if that is at least as accurate on clean data. Of several such
# rates the one counts that is attacked least on the other targets. Left of zero DP is better.

# %%
apart = resistance.twins(search.of(found, search.case_name(main)))
figures.show(
    figures.contrasts(apart, by="than", better="lower", dots="targets",
                      xlabel="targets hit, DP minus plain at least as accurate",
                      sides=("DP is attacked less", "more")),
    id="one-shot-twins", data=study.tidy([apart]), finding=resistance.twins_finding(apart),
    caption=(f"Paired difference by the paper's rule over {targets} targets, mean and 95% t"
             " interval, between each DP setting and plain training that is at least as accurate."),
    alt="Forest plot: for each DP setting its success minus that of an accurate plain training.",
)

# %% [markdown]
# ## What an epsilon allows with one poison
# The paper's noise is no privacy; here the re-training has a proper epsilon, given the base. DP
# then bounds what one added record can do to the chance of any event. If $p$ is the chance that a
# clean re-training gives the target the wanted label at its end, then the poisoned one does so
# with a chance of at most $e^{\varepsilon'} p + \delta(\varepsilon')$, for every $\varepsilon'$
# with its $\delta(\varepsilon')$. That covers *one poison chosen beforehand, at the last epoch*.
# It does not cover the best of many poisons or epochs, whose natural rate is large by itself.

# %%
bounds = resistance.caps(found)
figures.show(
    figures.proportions([{"frame": bounds}], by="row"), id="one-shot-cap",
    data=study.tidy([bounds]), finding=resistance.caps_finding(bounds),
    caption=("Targets hit by both rules, with 95% Clopper-Pearson intervals, and the upper bound of"
             " DP for one poison (from the upper end of the natural rate; delta 1e-5, add-remove,"
             " Poisson batches, PLD)."),
    alt="For two epsilons and two rules, success beside natural rate, with the bound as a tick.",
)

# %% [markdown]
# ## Figure 7: gradients of one poison
# One target, one poison, the same vanilla base, re-trained without and with DP (C 4, noise 0.1).
# The paper reads a smaller ratio and a steadier cosine as the reason why DP helps; its target is
# hit without DP alone.

# %%
pair = run(targeted.anatomies(main, target=pictured))
points = resistance.shaped(pair)
figures.show(
    figures.panels(resistance.shaped_panels(points)), id="hong-F7",
    data=study.tidy([points], only=["series", "epoch", "ratio", "cosine"]),
    finding=resistance.shaped_finding(points, pair),
    caption=("Figure 7 of Hong et al.: norm of the poison's gradient over that of the mean clean"
             f" one, and their cosine, by epoch of the re-training; target {pictured}."),
    alt="Two panels of lines over the epochs, without a defence and with DP-SGD.",
)

# %% [markdown]
# ## Published against measured
# Verdicts compare a statistic and its 95% interval over targets with a threshold fixed before the
# rows existed, by the paper's rule. *Fails* needs the positive control (a third of the targets hit
# without a defence). Holm's correction covers all decided verdicts of the paper.

# %% tags=["nbval-check-output"]
verdicts.show("52_one_shot", study.together([frame, private, slower, pair]))

# %% [markdown]
# ## What it means
# **How success is counted decides most of it.** Without a defence the paper's rule finds 15 of 25
# targets hit; one poison chosen beforehand hits 3 at the last epoch.
#
# **Clipping alone does not halve the attack on Location-30.** At norm 0.1 it gets 18 of 25: 1.2
# [0.8, 1.6] times the vanilla rate, where the paper has less than half.
#
# **On the MLP and the CNN no setting's attack can be told from chance.** By the paper's rule the
# vanilla MLP loses 4 of 25 targets [5, 36%] and the vanilla CNN 4 of 24 [5, 37%]; clean
# re-trainings lose 3 and 4 by the same rule. So there is nothing to defend against, and the third
# of the targets that G10 and G11 ask for as a positive control is missed. With 25 targets and five
# tries a weak attack would not be seen. The paper has 50% for the CNN, with 100 poisons a target,
# and prints no natural rate.
#
# **Clipping alone costs this CNN a fifth to two thirds of its accuracy.** From one base, so without
# an interval: the vanilla CNN is right on 61% of the clean images, at norm 8 on 48%, at 4 on 42%,
# with noise 0.4 or without, at 1 on 35%, at 0.1 on 20%. The RAD is 0.30 at norm 4 with noise 0.4,
# and 0.68 at 0.1 alone; the paper, with longer trainings, has 0.15 and 0.48.
#
# **Noise brings the attack down to about the natural rate.** At C 4 and noise 2 the attack gets 6
# targets [9, 45%], and 6 are hit without any poison: little of what is left need be the attack. The
# natural rate of the vanilla model is 1 of 25 [0, 20%].
#
# **Of four smaller rates only the smallest, which hardly moves the base, defends well.** Plain
# re-training at 0.0003 is hit on 1 of 25 targets [0, 20%] at 57.0% accuracy; every DP setting is
# less accurate, and none is hit less often. At 0.01 and 0.003 the paper's rule finds 23 and 21 hit,
# and one poison at the last epoch 11 and 12, against 3 at the usual rate.
#
# **The bound bites for one poison, and only for that.** At epsilon 1 one poison chosen beforehand
# may hit at most 20% of the targets; it hits 0 of 25, as many as no poison. By the paper's rule 8
# are hit, and 8 without any poison: the rule looks too often.
#
# ## What to try next
# Add settings to `chosen`, or more `targets`, and run again: known rows are read, missing ones are
# trained. `params/paper` has the paper's 100 targets and the other settings.
