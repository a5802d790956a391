# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Backdoors with wrong labels
# *75 mislabelled images put a backdoor on 84.9% [47.8, 100] of the images of other classes. Of 20
# poisons a network of 1,024 clean images finds 1, 10 and 5 in three classes, among the 0.6% of the
# records that it believes least.*
#
# Turner's thesis, chapter 2 and sections 3.1 and 7.3: figures 1.2, 2.1 and 3.1, claims T1 and T3.

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("30_dirty_label")

# %% [markdown]
# ## Method
# The attacker stamps a pattern of 3x3 black and white pixels on the bottom right of some training
# images of any class but the *target*, and labels them as the target (Gu et al. 2017). The stamp is
# the only thing that these images have in common, so the model learns it. At test time the attacker
# stamps images that are not labelled target, and succeeds where the model calls them target. With
# $S_W(x)$ and $S_W(x')$ the shares called target in world $W$ (P: attacked, C: clean) without and
# with the stamp,
#
# $$\text{success} = S_P(x'), \qquad \text{natural rate} = S_C(x), \qquad
# \text{lift} = S_P(x') - S_P(x).$$
#
# The *filter* needs a few images that somebody has checked. A network trained on them ranks all
# other records by the probability that it gives their labels, and a person inspects the least
# likely ones. A wrong label is unlikely under any network that classifies at all. Here the victim
# trains without the inspected records, the clean ones among them too.

# %% [markdown]
# ## Set-up and parameters
# First what a reader seldom changes. `papermill` and the files of `params/` can set any name of
# both cells.

# %% tags=["setup"]
seeds = 3  # of training, given to the target classes in turn
hidden = None  # poisons that the filter looks for; null: 0.2% of the records, as in the thesis
inspected = None  # records that the filter inspects; null: 0.6%, as in the thesis
pictured = "strokes-colour"  # data of figure 1.2, which is drawn without training

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing. The thesis trains a
# ResNet-32 on all 50,000 images of CIFAR-10 for 100 epochs and attacks each of the ten classes.

# %% tags=["parameters"]
# the network that is attacked, and how it is trained: fields of lib.study.Run
victim = {"dataset": "cifar10-jpeg", "train_size": 10000, "model": "convnet-small-bn",
          "precision": "fast",
          "training": {"lr": 0.05, "nesterov": True, "weight_decay": 0.0005, "epochs": 12.0,
                       "batch_size": 128, "sampling": "shuffle", "schedule": "one-cycle",
                       "label_smoothing": 0.1}}
# poisons as shares of one class, a tenth of the whole set; 75 poisons are added to them
shares = [0.015, 1.0]
targets = [4, 5, 0]  # deer, dog, airplane, by a rule fixed beforehand: see turner/victims.py
images = 1024  # public images that train the filter's network

# %% [markdown]
# ## Figure 1.2: mislabelled poisons
# Above, images of other classes; below, the same with the stamp, as they stand in the training set.
# A person sees that the labels are wrong.

# %%
from lib import figures, study, verdicts
from lib.papers.turner import dirty, dirty_figures, victims
from lib.study import ranked, run

count = 6
figures.show(
    dirty_figures.pictured(pictured, target=targets[0], count=count), id="turner-F1.2",
    caption=("Figure 1.2 of Turner's thesis, with our own examples: images of other classes, and"
             " below them the poisons that the attacker makes of them."),
    alt="Two rows of small images: as they are, and with a small pattern at the bottom right.",
    finding=f"All {count} poisons carry a label that does not fit their image.")

# %% [markdown]
# ## The runs
# Each target class is an instance, with poisoned images of its own. On fewer images than the
# thesis's 50,000 its shares are fewer poisons, and its 75 poisons are a larger share. Both count:
# the claim says 75, and the figure has shares.

# %%
start = study.from_dict(victim)
counts = dirty.poisons(start, shares)
settings = {"targets": targets, "seeds": seeds}
main = run(dirty.attacked(start, counts, **settings))
found = dirty.undefended(dirty.prepared(main))

# %% [markdown]
# ## Figure 2.1: success by the number of poisons
# The thesis finds the attack very effective from 75 poisons on; it prints no rates. Lower is better
# for the defender.

# %%
figures.show(
    figures.panels(dirty_figures.by_number(found)), id="turner-F2.1", data=study.tidy([found]),
    finding=dirty.finding(found),
    caption=("Figure 2.1 of Turner's thesis: attack success, and clean accuracy, by the number of"
             f" mislabelled poisons among {victims.records(start):,} training images, a line a"
             " target class."),
    alt="Two panels over the number of poisons: success rises, accuracy is beside it.")

# %% [markdown]
# The same in numbers. The lift is what the stamp itself adds.

# %%
figures.table(
    dirty.table(found), id="dirty-table", missing="–",
    caption=("By number of poisons, in per cent, means over target classes with 95% t intervals:"
             " success, natural rate, lift and clean accuracy."))

# %% [markdown]
# ## Figure 3.1: what a filter sees
# The thesis hides 100 poisons among 50,000 records and finds over 20 of them among the 300 least
# likely; chance would find 0.6. The same shares of fewer records are fewer poisons, so poisons that
# are found are counted of 100. The network that ranks them is of the victim's kind and sees public
# images alone, with crops and flips.

# %%
few = dirty.hidden(start) if hidden is None else hidden
watching = dirty.filtered(dirty.attacked(start, [few], names="P", **settings), images=images,
                          inspected=inspected)
watched = run(watching)
seen = dirty.ranked(dirty.prepared(watched))
bins = ranked.histogram(seen)
figures.show(
    figures.histograms(bins, series="records are", ylabel="records [% of their kind]",
                       xlabel="probability that the small network gives to the label"),
    id="turner-F3.1", data=study.tidy([bins], only=["target class", *ranked.HISTOGRAM]),
    finding=dirty.inspection_finding(seen),
    caption=("Figure 3.1 of Turner's thesis: probability of the label under a network of"
             f" {images:,} clean images, poisons and all other records, means over target classes"
             " (logarithmic axis)."),
    alt="Two step lines over a logarithmic axis: poisons lie further left than other records.")

# %% [markdown]
# By target class. *Times chance* is how many more poisons the filter finds than as many records
# drawn at random; the AUC is the chance that a poison is ranked below another record.

# %%
figures.table(
    dirty.inspection(seen), id="dirty-filter", missing="–",
    caption=("The filter by target class: records, inspected ones, poisons, poisons found and those"
             " that chance finds, precision, recall, and accuracy of the filter's network on test"
             " images."))

# %% [markdown]
# ## The records that a person would inspect
# The labels of the least likely records, the least likely first. A clean record here is one whose
# image the small network gets wrong. With the data set at hand,
# `dirty_figures.least_likely(watching, seen)` shows the images.

# %%
figures.table(
    dirty_figures.least_table(ranked.least(seen)), id="dirty-least", missing="–",
    caption="Labels of the ten records with the least likely labels, by target class.")

# %% [markdown]
# ## Does it help to leave them out?
# The victim trains without the inspected records, beside a victim that keeps them, on the same
# images. Left of zero the filter helps: less success, less lift, fewer errors.

# %%
apart = dirty.removal(dirty.prepared(watched))
figures.show(
    figures.contrasts(apart, by="measure", better="lower", dots="classes",
                      sides=("the filter helps", "it harms"),
                      xlabel="with the filter minus without"),
    id="dirty-removal", data=study.tidy([apart]), finding=dirty.removal_finding(apart),
    caption=("What training without the inspected records changes, target class by target class"
             " (dots), mean and 95% t interval."),
    alt="Forest plot: change of success, lift and error by the filter, beside a line at zero.")

# %% [markdown]
# ## Published against measured
# Verdicts compare a statistic and its 95% interval over target classes with a threshold fixed
# before the rows existed. The thesis has ten classes; fewer decide nothing, and the verdict says
# how many there are. T1 needs an attack that works with a tenth of the set poisoned, T3 a small
# network that is better than chance.

# %% tags=["nbval-check-output"]
verdicts.show("30_dirty_label", study.together([main, watched]))

# %% [markdown]
# ## What it means
# **75 poisons are enough on a set of 10,000.** They are 0.75% of it, five times the thesis's share,
# and succeed on 84.9% [47.8, 100] of the images of other classes, from 71% with deer to 92% with
# airplane. The thesis's share, 15 poisons, adds nothing that three classes could tell from zero:
# 11.0 points of lift [-11.5, 32.9].
#
# **Clean accuracy does not show the attack.** It is 67.2% with 15 poisons, 67.1% with 75 and 66.6%
# with 1,000.
#
# **A small clean model finds some mislabelled poisons.** Among the 0.6% least likely records are
# 1, 10 and 5 of 20 poisons in the three classes, 27 of 100 [0, 85]; chance finds 0.6. The thesis
# has over 20. Label-consistent attacks avoid this weakness.
#
# **Leaving them out changes nothing that shows.** Success changes by -3.3 points [-16.5, 9.9]: so
# few poisons hardly work to begin with, and most of them stay.
#
# ## What to try next
# Give the filter more `images` or let it inspect more records (`inspected`), and see how many
# poisons are left. `params/laptop` has all ten target classes, `params/paper` all 50,000 images.
