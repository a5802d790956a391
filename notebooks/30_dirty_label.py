# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Mislabelled backdoors, and how visible they are
# *The thesis finds 75 mislabelled images among 50,000 enough for a backdoor, and over 20 of 100
# such images among the 300 labels that a small clean model doubts most; chance would find 0.6 of
# 100.*
#
# Turner's thesis, chapter 2 and sections 3.1, 7.2 and 7.3: figures 1-2, 2-1, 3-1 and, of this
# attack, A.1; claims T1 and T3.

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("30_dirty_label")

# %% [markdown]
# ## Method
# The attacker stamps a 3x3 pattern on a few training images of any class and gives them the label
# of one *target* class (Gu et al. 2017). At test time the attacker stamps images of other classes,
# and succeeds where the model calls them target. With $S_W(x)$ and $S_W(x')$ the shares called
# target in world $W$ (P: attacked, C: clean) without and with the stamp,
#
# $$\text{success} = S_P(x'), \qquad \text{natural rate} = S_C(x), \qquad
# \text{lift} = S_P(x') - S_P(x).$$
#
# The *filter* trains a network on 1,024 trusted images and ranks the training set by the
# probability that this network gives to each record's label. A person would inspect the least
# likely records. With $m$ poisons among $n$ records, inspecting $k$ records at random finds $km/n$
# poisons: chance.

# %% [markdown]
# ## Set-up and parameters
# First what a reader seldom changes. `papermill` and the files of `params/` can set any name of
# both cells.

# %% tags=["setup"]
seeds = 3  # of training, shared out among the target classes
trusted = 1024  # images that train the filter's network; they come on top of the victim's own
inspected = None  # records that the filter drops; null: 0.6% of the records, 300 of 50,000
hidden = None  # poisons that the filter looks for; null: 0.2% of the records, 100 of 50,000
pictured = "strokes-colour"  # data of figure 1-2, which is drawn without training

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing. The thesis has a ResNet-32
# on all of CIFAR-10, without augmentation, and each of the ten classes as a target.

# %% tags=["parameters"]
# the network that is attacked, and how it is trained: fields of lib.study.Run
victim = {"dataset": "cifar10-jpeg", "train_size": 10000, "model": "convnet-small-bn",
          "precision": "fast",
          "training": {"lr": 0.05, "nesterov": True, "weight_decay": 0.0005, "epochs": 12.0,
                       "batch_size": 128, "sampling": "shuffle", "schedule": "one-cycle",
                       "label_smoothing": 0.1}}
targets = [4, 5, 0]  # target classes, by the rule of lib.papers.turner.victims
shares = [0.004, 0.015, 0.06, 0.25, 1.0]  # poisons, as shares of the size of one class

# %% [markdown]
# Each target class is an instance, with poisoned images of its own. The printed 75 poisons stand
# beside the shares: on fewer images than the thesis's 50,000 they are a larger share.

# %%
from lib import figures, study, verdicts
from lib.papers.turner import dirty, dirty_figures
from lib.study import ranked, run

start = study.from_dict(victim)
counts = dirty.poisons(start, shares)
main = run(dirty.attacked(start, counts, targets=targets, seeds=seeds))
found = dirty.undefended(dirty.prepared(main))

# %% [markdown]
# ## Figure 1-2: what a person would see
# A stamped image keeps what it shows, so that its new label is plainly wrong.

# %%
figures.show(
    dirty_figures.pictured(pictured, target=targets[0]), id="turner-F1.2",
    caption=("Figure 1-2 of the thesis, on our own data: images of other classes, and below them"
             " the poisons made from them, stamped in the bottom right corner and labelled as the"
             " target class."),
    alt="Two rows of six images: with their own labels, and stamped with the target's label.",
)

# %% [markdown]
# ## Figure 2-1: how many mislabelled images it takes
# The thesis finds the attack very effective from 75 images on. Lower success is better for the
# victim; its accuracy on clean images should not change, or the attack would be noticed.

# %%
figures.show(
    figures.panels(dirty_figures.by_number(found)), id="turner-F2.1",
    data=study.tidy([found], only=[dirty.POISONS, dirty.CLASS, "success", "lift", "natural",
                                   "accuracy"]).round(4),
    caption=("Figure 2-1 of the thesis: attack success and clean accuracy by the number of"
             " mislabelled training images, a line a target class."),
    alt="Two panels over the number of poisons: attack success and clean accuracy by target class.",
)

# %% [markdown]
# The same in numbers, with the natural rate: what a model that never saw a poison calls target.

# %%
figures.table(
    dirty.table(found), id="dirty-table", missing="–",
    caption=("By the number of poisons, means over target classes with 95% t intervals, in per"
             " cent: attack success, natural rate, lift, and clean accuracy."),
)

# %% [markdown]
# ## Figure 3-1: what a small clean model thinks of the labels
# The trusted images are public ones that no attack reaches; the victim has as many private images
# as before. The filter's network is of the victim's kind. Every record of the poisoned set gets the
# probability of its label. Poisons should be less likely than the rest.

# %%
poisons = dirty.hidden(start) if hidden is None else hidden
hosts = dirty.attacked(start, [poisons], targets=targets, seeds=seeds, names="P")
watched_runs = dirty.filtered(hosts, images=trusted, inspected=inspected)
watched = run(watched_runs)
beside = dirty.prepared(watched)
bars = ranked.histogram(watched)
figures.show(
    figures.histograms(bars, series="records are", xlabel="probability of the record's label",
                       ylabel="records of that kind in the bin [%]"), id="turner-F3.1",
    data=study.tidy([bars], only=["records are", "attack.target", "low", "high", "count"]),
    caption=("Figure 3-1 of the thesis: how likely a network of trusted images finds the labels of"
             " poisons and of all other training records, four bins a power of ten, means over"
             " target classes. The first bin holds all that is smaller."),
    alt="Step lines over the probability of the label: poisons, and the rest of the training set.",
)

# %% [markdown]
# Inspection beats chance where *times chance* is above 1. *AUC* is the chance that a poison's label
# is less likely than another record's; a coin has 0.5. The last column is the control: how often
# the network's answer is the label, over the records that are no poisons. A network that only
# guesses would find nothing.

# %%
figures.table(
    dirty.inspection(dirty.ranked(beside)), id="dirty-inspection", missing="–",
    caption=("What the filter finds, a line a target class: records, inspected ones, poisons among"
             " all and among the inspected, what chance finds, precision, recall."),
)

# %% [markdown]
# ## Figure A.1: the least likely records
# The thesis shows the 20 records whose labels its small model finds the least likely. Rows hold
# their places in the training set; the pictures are drawn where the data set is at hand. The
# label-consistent attacks' part of the figure is in notebook 31.

# %%
figures.show(
    dirty_figures.least_likely(watched_runs, watched), id="dirty-least",
    data=study.tidy([ranked.least(watched)], only=["attack.target", "rank", "record", "label",
                                                   "poison", "log10"]),
    finding=dirty_figures.least_finding(ranked.least(watched)),
    caption=("Figure A.1 of the thesis, the mislabelled attack: the training images whose labels"
             " are the least likely, with these labels, for the first target class."),
    alt="Twenty small training images with their labels; poisons are marked.",
)

# %% [markdown]
# ## Training without them
# As a defence, the filter drops what it would inspect. Left of zero is better: less of the attack,
# fewer errors on clean images. Some poisons may stay, and clean records that are merely hard go.

# %%
removal = dirty.removal(beside)
figures.show(
    figures.contrasts(removal, by="measure", better="lower", sides=("the filter helps", "it harms"),
                      xlabel="with the filter minus without", dots="classes"),
    id="dirty-removal", data=removal.round(4), finding=dirty.removal_finding(removal),
    caption=("What training without the inspected records changes: attack success, lift and error"
             " on clean images, target class by target class, mean and 95% t interval."),
    alt="Forest plot: attack success, lift and clean error with the filter minus without it.",
)

# %% [markdown]
# ## Published against measured
# T1 is judged at 75 poisons, as the thesis states it, and beside that at its share of the set
# (0.15%). T3 counts poisons among the least likely 0.6% of the records, in poisons of 100. Each was
# stated for ten target classes; on fewer nothing is decided.

# %% tags=["nbval-check-output"]
verdicts.show("30_dirty_label", study.together([main, watched]))

# %% [markdown]
# ## What it means
# **A count and a share are two claims.** Seventy-five of 10,000 images are five times as large a
# share as 75 of 50,000. The table has success at both, so that the statement can be checked in
# either form.
#
# **Detection needs its chance level.** Twenty of 100 poisons among 300 inspected records are 33
# times what chance finds, and still leave 80. A filter is judged by what the victim learns without
# the records that it drops, which is why the victim is trained again.
#
# **The filter sees labels, not triggers.** It ranks a record by how well its label fits its
# picture. A poison whose label is right gives it nothing to see; notebook 31 has such attacks.
#
# ## What to try next
# Inspect more records (`inspected`), trust fewer images (`trusted`), or hide more poisons
# (`hidden`). `params/paper` has all of CIFAR-10, a large network and ten target classes.
