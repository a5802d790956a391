# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The strength of the attack
# *At epsilon 1 and a tenth of the class little of the trigger is left, at 12 to 22 points of accuracy; at half of it much of it is back.*
#
# Razmi et al., section 7.2: figure 4 (accuracy and attack success over the poisoned share, epsilon 1) and claim R12. The
# paper's axis says share of the training data; the attack relabels a share of *one class*, so that 50% is 5% of the data.

# %%
try:
    import lib
except ImportError:  # a kernel from outside the project's environment: the checkout is the folder above
    import sys
    sys.path.insert(0, "..")

# %% [markdown]
# Everything that can be changed stands here; `papermill` and the YAML files of `params/` set the same names.

# %% tags=["parameters"]
dataset = "cifar10-jpeg"  # a name of lib.data: strokes, mnist, cifar10, cifar10-jpeg, imagefolder:PATH
train_size = 50000  # training images, the public ones included
test_size = 10000  # test images
public = 10000  # the first training images are public: features are fitted on them, the victim trains on the rest
features = "patches"  # none (pixels), patches, resnet-public, imagenet-resnet50
model = "head"  # cnn, head, mlp, linear, or my_file.py:function
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never
epochs = 20  # passes over the private images (LP-2ST: in each stage)
undefended = {"optimizer": "sgd", "lr": 0.01, "epochs": 50.0, "batch_size": 512, "checkpoints": 16}  # the model without a defence
epsilon = 1.0  # of every method, each in its own sense
rates = {"DP-SGD": [[1.0, 0.03], [4.0, 0.1]], "LP-2ST": [[1.0, 0.001], [4.0, 0.003]], "ALIBI": [[1.0, 0.01], [4.0, 0.01]]}  # epsilon and learning rate, from notebook 13
temperature = 0.5  # LP-2ST: of the prior
split = [0.4, 0.6]  # LP-2ST: shares of the records in its two stages (table 6)
teachers = 200  # PATE: models on disjoint blocks of the private images
teacher = {"optimizer": "sgd", "lr": 0.1, "epochs": 20.0, "batch_size": 32, "sampling": "shuffle"}  # their training
student = {"optimizer": "adam", "lr": 0.001, "momentum": 0.0, "epochs": 30.0, "batch_size": 128, "sampling": "shuffle"}  # PATE's student
threshold = 100.0  # PATE: votes that an answer needs
pate_noise = [2160.0, 540.0]  # PATE: selection and result noise that give epsilon 1 at 10,000 queries
fractions = [0.05, 0.1, 0.3, 0.5]  # poisoned share of the base class
pate_fractions = [0.1, 0.5]  # the same for PATE, which drowns in noise at every share
figure_pairs = [[0, 8], [1, 9], [2, 4]]  # base and target classes of the instances
small = 0.1  # the share up to which the paper says that the attack has no success
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]  # instances at that share

# %% [markdown]
# Data, networks, attacks, defences, training and figures come from `lib`; a notebook only says what to run.

# %%
from lib import claims, figures, privacy, study
from lib.attacks.dirty_label import BadNets
from lib.defences.dpsgd import DPSGD
from lib.defences.pate import PATE
from lib.metrics import parts
from lib.study import Run, instances, recipes, run, worlds
from lib.training import Training

# %% [markdown]
# ## Figure 4
# One epsilon, four methods, the poisoned share from 1% to 50% of the base class. PATE reaches this epsilon by noise, with all
# public images as queries, as in the paper: the votes then drown.

# %%
base = Run(dataset=dataset, train_size=train_size, test_size=test_size, public=public, features=features, model=model, precision=precision)
extra = {"LP-2ST": {"temperature": temperature, "split": tuple(split)}}
arms = {"undefended": {"defence": DPSGD(0.0, clip=False), "training": Training(**undefended)}}
arms |= {name: recipes.arm(name, epsilon, lr=recipes.tuned(dict(tried), epsilon), epochs=epochs, **extra.get(name, {})) for name, tried in rates.items()}
arms["PATE"] = {"defence": PATE(teachers, threshold=threshold, selection_noise=pate_noise[0], result_noise=pate_noise[1], teacher=Training(**teacher)),
                "training": Training(**student)}
votes = [[teachers] + [0] * 9] * public
print(f"PATE's epsilon with all {public} queries answered: {privacy.pate_epsilon(votes, threshold=threshold, selection_noise=pate_noise[0], result_noise=pate_noise[1], delta=1e-5):.2f}")

# %% [markdown]
# Every method at every share (PATE at two), on the first pairs.

# %%
cases = [(name, one) for name, arm in arms.items() for share in (pate_fractions if name == "PATE" else fractions)
         for one in instances(base.with_(attack=BadNets(fraction=share), **arm), figure_pairs)]
figure4 = run(one for _, one in cases)
figure4["series"] = [name for name, _ in cases]
figure = figures.panels([dict(frame=figure4, x="attack.fraction", y=y, series="series", xscale="log", xlabel="poisoned share of the base class")
                       for y in ("accuracy", "success", "lift")])
figures.show(figure, id="razmi-F4", data=study.tidy([figure4]),
           caption=f"Figure 4 of Razmi et al.: accuracy, attack success and lift over the poisoned share of the base class, epsilon {epsilon:g} for every method (label-DP for LP-2ST and ALIBI), {len(figure_pairs)} pairs.",
           alt="Three panels: accuracy, attack success and lift over the poisoned share for the undefended model, DP-SGD, LP-2ST, ALIBI and PATE.")

# %% [markdown]
# ## At a tenth
# The paper's conclusion is for shares up to 10%: no success, at ten points of accuracy. Ten pairs, with clean twins
# and (but for DP-SGD) relabelled ones. Attack success cannot fall to zero where the classes are confused anyway (natural), and it can fall *below* what a
# model that never saw the trigger would show (the blind reference, world L): then the trigger does nothing, and what is
# left of the relabelled images does.

# %%
cases = [(name, one) for name, arm in arms.items() if name != "PATE"
         for instance in instances(base.with_(attack=BadNets(fraction=small), **arm), pairs) for one in worlds(instance, "PC" if name == "DP-SGD" else "PLC")]
tenth = run(one for _, one in cases)
tenth["series"] = [name for name, _ in cases]
with_parts = parts(tenth)
figures.show(figures.parts_bars(with_parts, label="series"), id="strength-parts", data=study.tidy([with_parts]),
           caption=f"Attack success and its parts at {small:.0%} of the base class, epsilon {epsilon:g}, {len(pairs)} pairs; the blind reference is a model that saw the same wrong labels and no trigger.",
           alt="Stacked bars of natural confusion, collateral damage and lift for the undefended model and three methods.")

# %% [markdown]
# In numbers, with the bound: the most attack success that DP-SGD's guarantee permits at so many poisoned images, which the
# paper calls compatible with its figure.

# %%
columns = {"accuracy": "accuracy", "natural": "natural", "collateral": "collateral", "lift": "lift", "effect": "backdoor effect", "success": "attack success",
           "blind": "blind", "trigger_auc": "trigger AUC"}
shown = study.means(with_parts, by="series", columns=columns, intervals=("lift", "effect", "success"))
below = {name: group["success"] < group["blind"] for name, group in with_parts[with_parts["blind"].notna()].groupby("series")}
shown["below blind"] = [f"{below[name].sum()} of {len(below[name])}" if name in below else None for name in shown["series"]]
figures.table(shown.rename(columns={"series": "method"}), id="strength-table", missing="–",
            caption=f"Means over {len(pairs)} pairs at {small:.0%} with 95% t intervals, shares of all base-class test images; below blind: pairs whose attack success is below their blind reference.")
private_size = train_size - public
z = privacy.dpsgd_noise_multiplier(epsilon, 512 / private_size, round(epochs * private_size / 512), 1e-5) if private_size > 512 else None
if z is not None:
    caps = {k: privacy.dpsgd_attack_success_cap(0.01, z, 512 / private_size, round(epochs * private_size / 512), k, adjacency="replace-one") for k in (1, 5, 20, 100)}
    print("DP-SGD's cap on attack success from 1%, by images poisoned in place:", ", ".join(f"{k}: {cap:.1%}" for k, cap in caps.items()))

# %% [markdown]
# ## Published against measured
# Each verdict is a statistic with a 95% interval over attack instances against a threshold that was fixed before the rows
# existed. *Fails* needs the interval on the other side and the positive control (the undefended backdoor) passed.

# %% tags=["nbval-check-output"]
rows = study.together([figure4, tenth])
verdicts = claims.table(claims.evaluate({"14_attack_strength": rows}))
verdicts = verdicts[verdicts["notebook"].eq("14_attack_strength")]
print(verdicts[["id", "direction", "size", "measured", "interval", "n"]].to_string(index=False))

# %% [markdown]
# ## What it means
# **The attack's strength matters more than the defence.** At epsilon 1 the lift of DP-SGD, LP-2ST and ALIBI is 4.0, 2.4 and
# 2.5 points at 5% of the base class, 8.8, 4.9 and 4.7 at 10%, 33, 17 and 29 at 30%, 39, 20 and 38 at 50% (undefended at 5, 10
# and 30%: 44, 74, 83; ten pairs at 10%, three elsewhere). Clean accuracy hardly moves with the share, as published. PATE, at the noise that makes its epsilon
# 1 with 10,000 queries, is 11% accurate: it answers at random.
#
# **R12 holds in direction and fails in size.** All three methods lower the lift at a tenth, but the price is not ten points:
# LP-2ST loses 22.1 [21.5, 22.7] points of accuracy, ALIBI 16 and DP-SGD 12.5. Attack success itself stays at 16 to 22%,
# because a tenth of the stamped images is called target by clean models of the same defence too. It was not below
# the blind reference for any pair: what is left of the lift is small, and is the trigger's (backdoor effect 5 to 6 points).
#
# **It is not the bound's doing.** The paper calls its figure compatible with the theory that links an attacker's loss to the
# number of poisons. At this epsilon the sharpest cap is 3.3% for one poisoned image, 55% for five and empty for twenty;
# the smallest attack here has 200. Notebook 13 has the other explanation: models that learn less learn less of the trigger.
#
# ## What to try next
# Change `epsilon` or `fractions` in the parameters cell and run again: known rows are read, missing ones are trained.
