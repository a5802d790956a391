# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Start here
# *One attack, one defence, ten lines; then how to change everything.*
#
# A backdoor puts a small patch on some training images of one class and gives them another class's
# label. The trained model works as before, until the patch appears. DP-SGD limits what any few
# training images can do, and prints by how much (epsilon). Does it stop the backdoor, and at what
# price?

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
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what
# to run.

# %%
from lib import figures
from lib.defences.dpsgd import DPSGD
from lib.goals import parts
from lib.study import Run, run, worlds
from lib.training import Training

# %% [markdown]
# ## One attack, one defence
# A `Run` is the argument, the cache key and the row of the result table. `run` reads what is known
# and trains the rest.

# %%
training = Training("sgd", lr=0.03, epochs=float(epochs), batch_size=batch_size)
plain = Run(dataset=dataset, train_size=train_size, public=public, model=model, attack=attack,
            training=training, defence=DPSGD(noise_multiplier=0.0, clip=False), precision="fast")
private = plain.with_(defence=defence)
results = parts(run(one for arm in (plain, private) for one in worlds(arm, "PLC")))
results["model"] = ["plain SGD", "DP-SGD" if defence["name"] == "dpsgd" else defence["name"]]

# %% [markdown]
# Accuracy is the price, lift the trigger's own work, epsilon what DP-SGD guarantees.

# %%
columns = [
    "model", "accuracy", "success", "natural", "collateral", "lift", "trigger_auc", "epsilon"
]
figures.table(
    results[columns],
    id="start-results",
    caption=(
        "Attack success is natural confusion plus collateral plus lift, what the trigger itself"
        " adds. Epsilon: delta 1e-5, add-remove, Poisson sampling, PLD."
    ),
)

# %% [markdown]
# The same numbers as a picture: what of the attack's success is the trigger's work?

# %%
figure = figures.parts_bars(results, label="model")
figures.show(
    figure,
    id="start-parts",
    data=results[columns],
    caption="What attack success is made of, without and with the defence.",
    alt=(
        "Two stacked bars: attack success without and with the defence, each split into natural"
        " confusion, collateral and lift."
    ),
)

# %% [markdown]
# Before concluding that noise stopped the backdoor, look at the accuracy beside it: a model that
# learnt less may have learnt less of the trigger too. Notebook 11 compares at equal accuracy.
#
# ## Change it
# - **A number**: edit the parameters cell and run all cells. Known rows are read, missing ones
#   trained.
# - **Many numbers**: `papermill 00_start_here.ipynb out.ipynb -p epochs 20`, or a folder of YAML
#   files with `python3 build.py report my_folder/` (write `1.0e-5`: in YAML `1e-5` is a string).
#   papermill only warns of a name that the notebook does not have; `build.py` refuses it.
# - **Your data**: `dataset = "imagefolder:/path/to/images"` with `train/CLASS/*.png` and
#   `test/CLASS/*.png` (or class folders alone: a fixed fifth becomes the test set). Images are
#   resized to 32x32. Classes are numbered by the names of their folders in alphabetical order; set
#   `attack`'s base and target to two of these numbers, and `train_size`, `public` and `batch_size`
#   to what your images allow.
# - **Your network**: `model = "my_model.py:build"`, a function `build(shape, classes)` that returns
#   a `torch.nn.Module` without batch normalisation.
# - **Another trigger**: further fields of `attack`: `size`, `margin`, `position`, `pattern`
#   ("random", "white", "checker", or a picture of your own, "my_trigger.png"), `amplitude`;
#   `base=None` attacks every class but the target. `stamp` and `relabel` switch the two halves of
#   the poison.
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
# `defence = {"name": "my_defence.py:Mine", "keep": 0.5}` then works here, and `Run(defence={...})`
# in every notebook. Files are looked for in the folder that you work in, beside the parameter
# files, in `notebooks/` and in the checkout. An edited file is a new experiment; what it imports of
# your own is not looked at, so keep all in one file. A run that failed is not tried again unless
# `STUDY_RETRY=1` is set (`build.py report --retry-failed`).
