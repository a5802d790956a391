# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Start here
# *On drawn digits DP-SGD at epsilon 2.1 takes attack success from 99 to 7%, and accuracy from 99.7
# to 92%. One attack, one defence, ten lines; then how to change everything.*
#
# A backdoor puts a small patch on some training images of one class and gives them another class's
# label. The trained model works as before, until the patch appears. DP-SGD limits what any few
# training images can do, and prints by how much (epsilon). Does it stop the backdoor, and at what
# price?

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("00_start_here")

# %% [markdown]
# ## Method
# Two models learn from the same attacked images: one by plain SGD, one by DP-SGD, which clips each
# image's gradient and adds noise. Each is trained again on clean images, and on images with wrong
# labels but no patch: these say how much of the attack's success is not the patch's work.
#
# $$\text{attack success} = \text{natural confusion} + \text{collateral} + \text{lift}$$
#
# **Lift** is what the patch (the trigger) adds: the share of stamped test images called target,
# minus that of the same images without it. Natural confusion is what a clean model gets wrong;
# collateral is what the wrong labels add.

# %% [markdown]
# ## Parameters
# Edit these; `papermill` and the YAML files of `params/` set the same names.

# %% tags=["parameters"]
# digits drawn by this project: any number of them, the same bytes everywhere, no download
dataset = "strokes"
train_size = 12000  # training images
public = 2000  # the first of them are public and not attacked
model = "cnn"  # the papers' small network for 28x28 images
epochs = 10  # passes over the private images
batch_size = 128  # expected size of a batch; at most the number of private images
# a tenth of class 7 is stamped and labelled 1
attack = {"name": "badnets", "base": 7, "target": 1, "fraction": 0.1}
defence = {"name": "dpsgd", "noise_multiplier": 1.0}  # DP-SGD at clipping norm 1

# %% [markdown]
# ## One attack, one defence
# A `Run` holds everything that decides a result; it is also the key under which the result is kept.
# `run` looks up what is known and trains the rest.

# %%
from lib import figures
from lib.defences.dpsgd import DPSGD
from lib.goals import parts
from lib.study import Run, run, worlds
from lib.training import Training

training = Training("sgd", lr=0.03, epochs=float(epochs), batch_size=batch_size)
plain = Run(dataset=dataset, train_size=train_size, public=public, model=model, attack=attack,
            training=training, defence=DPSGD(noise_multiplier=0.0, clip=False), precision="fast")
private = plain.with_(defence=defence)
results = parts(run(one for arm in (plain, private) for one in worlds(arm, "PLC")))
results["model"] = ["plain SGD", "DP-SGD" if defence["name"] == "dpsgd" else defence["name"]]

# %% [markdown]
# Accuracy is the price, lift the trigger's own work, epsilon what DP-SGD guarantees. Trigger AUC is
# the chance that a stamped image looks more like the target than an unstamped one: 0.5 is no
# effect.

# %%
columns = [
    "model", "accuracy", "success", "natural", "collateral", "lift", "trigger_auc", "epsilon"
]
figures.table(
    results[columns].set_index("model").T.rename_axis("measure"), id="start-results", digits=4,
    caption=("One training each. Attack success is natural confusion plus collateral plus lift."
             " Epsilon: delta 1e-5, add-remove, Poisson sampling, PLD."),
)

# %% [markdown]
# ## What it means
# **The price is part of the answer.** DP-SGD's model is 92% accurate and plain SGD's 99.7%. A model
# that learnt less may have learnt less of the trigger too: before concluding that noise stopped the
# backdoor, compare at equal accuracy. Notebook 11 does.
#
# **One pair of classes and one seed are an example, not a finding.** The other notebooks repeat an
# attack on several pairs and print intervals.
#
# ## What to try next: change it
# - **A number**: edit the parameters cell and run all cells. Known results are read, missing ones
#   are trained.
# - **Many numbers**: `papermill 00_start_here.ipynb out.ipynb -p epochs 20`, or a folder of YAML
#   files with `python3 build.py report my_folder/` (write `1.0e-5`: in YAML `1e-5` is a string).
#   papermill only warns about a name that the notebook does not have; `build.py` refuses it.
# - **Your data**: `dataset = "imagefolder:/path/to/images"` with `train/CLASS/*.png` and
#   `test/CLASS/*.png` (or class folders alone: a fixed fifth becomes the test set). Images are
#   resized to 32x32. Classes are numbered in the alphabetical order of their folders. Set
#   `attack`'s base and target to two of these numbers, and `train_size`, `public` and `batch_size`
#   to what your images allow.
# - **Your network**: `model = "my_model.py:build"`, a function `build(shape, classes)` that returns
#   a `torch.nn.Module` without batch normalisation.
# - **Another trigger**: `attack` takes `size`, `margin`, `position`, `pattern` ("random", "white",
#   "checker", or your own picture, "my_trigger.png") and `amplitude`. `base=None` attacks every
#   class but the target. `stamp` and `relabel` switch the two halves of the poison on and off.
# - **Your attack**: a file with one frozen dataclass, named as
#   `attack = {"name": "my_attack.py:Mine"}`:
#
# ```python
# from dataclasses import dataclass
# from lib.attacks.dirty_label import DirtyLabel
#
# @dataclass(frozen=True)
# class Mine(DirtyLabel):  # brings base, target, and the switches of the training worlds
#     images: int = 50
#
#     def trigger(self, images, *, seed):  # uint8 [n, channels, height, width], and the same back
#         stamped = images.clone()
#         stamped[:, :, 0, :] = 255
#         return stamped
#
#     def victims(self, labels, *, seed):  # which training images are attacked
#         return self.candidates(labels, seed=seed)[: self.images]
# ```
#
# - **Your defence**: likewise, `defence = {"name": "my_defence.py:Mine"}`:
#
# ```python
# from dataclasses import dataclass
# import torch
# from lib.defences import members
# from lib.privacy import Guarantee
#
# @dataclass(frozen=True)
# class Mine:
#     keep: float = 0.9  # share of the training images that are used
#
#     def group(self, run):
#         return ("mine", run.model, run.training, run.precision, self)
#
#     def train(self, runs, poisoned):
#         count = [int(self.keep * len(data.rows)) for data in poisoned]
#         group = members.fit(runs, poisoned, [{"records": torch.arange(n)} for n in count])
#         return [members.trained(group, i, Guarantee.none("no noise")) for i in range(len(runs))]
# ```
#
# Then `defence = {"name": "my_defence.py:Mine", "keep": 0.5}` works here, and
# `Run(defence={...})` in every notebook. Files are looked for in the current folder, beside the
# parameter files, in `notebooks/` and in the checkout. An edited file is a new experiment. Changes
# in other files that it imports are not noticed, so keep all in one file. A failed run is not tried
# again unless `STUDY_RETRY=1` is set (`build.py report --retry-failed`).
