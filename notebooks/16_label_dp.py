# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Label differential privacy against a backdoor
# *At epsilon 1, with half of the class poisoned, the prior of LP-2ST takes 16.5 points from what
# the trigger adds, and adds 19.7 to what is called target without it.*
#
# Razmi et al., appendix B.1 and B.2: figure 5a to 5c (LP-2ST over temperature, split and epsilon),
# figure 6 (ALIBI over its noise) and claims R9 and R14. Then what LP-2ST's attack success is made
# of, and what is left of it at equal accuracy.

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("16_label_dp")

# %% [markdown]
# ## Method
# Label-private methods randomise the labels and leave the images as they are. Randomised response
# keeps a label with probability $p$ and else draws another of $K$ classes. LP-2ST trains in two
# stages: the model of the first, sharpened by a temperature, is the prior of the second, and only
# its $k$ likeliest classes can come out there. ALIBI adds Laplace noise to one-hot labels and
# trains against the posterior.
#
# $$\Pr[\tilde y = y] = \frac{e^\varepsilon}{e^\varepsilon + k - 1} \;\text{ if } y \text{ is among
# the } k, \qquad k = K \text{ without a prior}$$
#
# A noisy label that is right less often lowers accuracy and attack success alike. So attack success
# is split into the share of the same images that is called target *without* the trigger, and
# **lift**, what the trigger adds.

# %% [markdown]
# ## Set-up and parameters
# First what a reader seldom changes. `papermill` and the files of `params/` can set any name of
# both cells.

# %% tags=["setup"]
train_size = 50000  # training images, the public ones included
test_size = 10000  # test images
# the first training images are public: features are fitted on them, the victim trains on the rest
public = 10000
precision = "fast"  # fast: the hardware may round the factors of matrix products; float32: never
# the model without a defence
undefended = {"optimizer": "sgd", "lr": 0.01, "epochs": 50.0, "batch_size": 512, "checkpoints": 16}
# epsilon and learning rate, from notebook 13
rates = {"LP-2ST": [[1.0, 0.001], [4.0, 0.003]], "ALIBI": [[1.0, 0.01], [4.0, 0.01]]}
tuned_temperature = 0.5  # at a tenth of the class: chosen in notebook 13
temperatures = [0.1, 0.3, 1.0]  # figure 5a
wide_split = [0.8, 0.2]  # figure 5a
splits = [0.2, 0.4, 0.6, 0.8, 1.0]  # figure 5b: share of the first stage
figure_fraction = 0.5  # poisoned share of the base class, as published
figure_pairs = [[0, 8], [1, 9], [2, 4]]  # base and target classes of the figures' instances
mnist_epsilons = [1.0, 2.0, 4.0]  # the check on clean MNIST; an empty list leaves it out
# table 5
mnist = {
    "dataset": "mnist", "train_size": 60000, "epochs": 10, "rates": {"LP-2ST": 0.03, "ALIBI": 0.03},
    "temperature": 0.5, "split": [0.5, 0.5]
}

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing.

# %% tags=["parameters"]
# a name of lib.data: strokes, mnist, cifar10, cifar10-jpeg, imagefolder:PATH
dataset = "cifar10-jpeg"
features = "patches"  # none (pixels), patches, resnet-public, imagenet-resnet50
model = "head"  # cnn, head, mlp, linear, or my_file.py:function
epochs = 20  # passes over the private images (LP-2ST: in each stage)
epsilon = 1.0  # figure 5a, 5b and the controls
temperature = 0.1  # figure 5b, 5c and the controls (table 6)
split = [0.4, 0.6]  # but for figure 5a: shares of the records in the two stages (table 6)
epsilons = [0.5, 1.0, 2.0, 4.0]  # figure 5c and 6, with no noise as the last place
fraction = 0.1  # poisoned share of the base class in the last part
# its instances: base and target classes
pairs = [[0, 8], [1, 9], [2, 4], [3, 5], [4, 7], [5, 2], [6, 3], [7, 0], [8, 1], [9, 6]]

# %% [markdown]
# The methods on one network, with learning rates that were tuned for clean accuracy.

# %%
from lib import figures, study, verdicts
from lib.attacks.badnets import BadNets
from lib.defences.dpsgd import DPSGD
from lib.goals import parts
from lib.papers.razmi import figure5, label_dp, label_methods, labelled, priors
from lib.study import Run, instances, run
from lib.training import Training

place = dict(test_size=test_size, public=public, precision=precision)
base = Run(dataset=dataset, train_size=train_size, features=features, model=model,
           attack=BadNets(fraction=figure_fraction), **place)
methods = label_methods.Methods(base, rates, epochs, temperature, split)
plain_start = base.with_(training=Training(**undefended), defence=DPSGD(0.0, clip=False))

# %% [markdown]
# ## Figure 5: LP-2ST
# The paper says that a sharper prior (a lower temperature) raises accuracy and lowers attack
# success, and that attack success at epsilon 1 is below 40% at 80% accuracy. A split of 100/0 is
# plain randomised response.

# %%
plain = run(instances(plain_start, figure_pairs))
figure5a = run(labelled.on_pairs(
    (methods.lp2st(epsilon, temperature=t, split=wide_split) for t in temperatures), figure_pairs))
figure5b = run(labelled.on_pairs(
    (methods.lp2st(epsilon, split=shares) for shares in label_methods.two_shares(splits)),
    figure_pairs))
figure5c = run(labelled.on_pairs(
    (methods.lp2st(budget) for budget in [*epsilons, None]), figure_pairs))

# %% [markdown]
# On the left accuracy, where higher is better, and attack success, where lower is better. On the
# right the lift: lower is better.

# %%
swept = [figure5a, figure5b, figure5c]
figures.show(
    figures.panels(figure5.panels(*swept), letters=False), id="razmi-F5",
    data=study.tidy(swept, only=["defence.temperature", "defence.split", "epsilon", "attack.base",
                                 "attack.target", "accuracy", "success", "lift"]),
    caption=(f"Figure 5 of Razmi et al.: LP-2ST over temperature (split {wide_split}), over the"
             f" split and over epsilon; {figure_fraction:.0%} of the base class poisoned,"
             f" {len(figure_pairs)} pairs (faint), epsilon {epsilon:g} in 5a and 5b."),
    alt=("Six panels: accuracy with attack success, and lift, of LP-2ST over the temperature, the"
         " split and epsilon."),
)

# %% [markdown]
# What a sharper prior changes, pair by pair:

# %%
figures.table(
    figure5.sharpened(figure5a), id="label-temperature",
    caption=(f"LP-2ST at the lowest temperature of figure 5a minus the highest, points [95% t"
             f" interval over {len(figure_pairs)} pairs]."),
)

# %% [markdown]
# The paper picks temperature and split by accuracy and attack success on test images of the one
# attack that it then reports. What that buys: for each pair, accuracy minus attack success at the
# setting that is best on this very pair, and at the one that is best on the other pairs. A defender
# who does not know the attack gets the second.

# %%
figures.table(
    figure5.chosen_on_the_attack([figure5a, figure5b]), id="label-oracle",
    caption=(f"Choosing LP-2ST's setting at epsilon {epsilon:g} on the reported attack itself, and"
             " on the other pairs (score: accuracy minus attack success), among all settings of"
             " figure 5a and 5b."),
)

# %% [markdown]
# ## Figure 6: ALIBI
# The paper says that accuracy and attack success fall in proportion. The axis is the standard
# deviation of the Laplace noise, 2 sqrt(2) / epsilon.

# %%
figure6 = run(labelled.on_pairs(
    (methods.alibi(budget) for budget in [*epsilons, None]), figure_pairs))
noisy = label_dp.noisy(figure6)
figures.show(
    figures.panels(figure5.noise_panels(noisy), letters=False), id="razmi-F6",
    data=study.tidy([noisy], only=[label_dp.NOISE, "epsilon", "attack.base", "attack.target",
                                   "accuracy", "success", "lift"]),
    caption=(f"Figure 6 of Razmi et al.: ALIBI over its label noise, {figure_fraction:.0%} of the"
             f" base class poisoned, {len(figure_pairs)} pairs (faint)."),
    alt=("Two panels over the standard deviation of ALIBI's label noise: accuracy with attack"
         " success, and lift."),
)

# %% [markdown]
# ## What is LP-2ST's attack success made of?
# A randomised label moves from the target to every other class, and from every class to the target:
# to a learner that weighs evidence, the trigger means the target as much as before. With a sharp
# prior $k$ is 1 for many records: the label in stage 2 is then stage 1's top guess, and does not
# depend on the poisoned label at all.
#
# The controls: $k = 1$ for every record; a prior that knows the true label; plain randomised
# response at the same epsilon (symmetric noise of the same strength is the same distribution); and
# the released code's score, which divides by one label too few and so prefers $k = 1$.

# %%
compared = labelled.run_labelled({
    name: instances(start, figure_pairs)
    for name, start in priors.controls(methods, epsilon).items()}, column=priors.CONTROL)
figures.table(
    priors.by_control(compared, plain), id="label-paired",
    caption=(f"Paired differences at epsilon {epsilon:g}, points [95% t interval over"
             f" {len(figure_pairs)} pairs], {figure_fraction:.0%} of the base class poisoned. Last"
             " column: lift minus that of plain SGD when it first was as accurate."),
)

# %% [markdown]
# The means behind these differences, and what happened to the labels:

# %%
figures.table(
    priors.table(compared), id="label-controls", missing="–",
    caption=(f"Controls at epsilon {epsilon:g}: means over {len(figure_pairs)} pairs, 95% t"
             " intervals. Shares of k are of stage 2; labels are those trained on."),
)

# %% [markdown]
# ## A tenth of the base class
# Ten pairs, with settings tuned for clean accuracy. The guarantee of a label-private method says
# nothing about images: it compares the attacked model (P) with one trained on the same stamped
# images under their true labels (T), not with a clean one (C). World T for the first pairs.

# %%
starts = {"undefended": plain_start, "ALIBI": methods.alibi(epsilon),
          "LP-2ST": methods.lp2st(epsilon, temperature=tuned_temperature)}
tenth = labelled.run_labelled({name: priors.in_worlds(
    start.with_(attack=BadNets(fraction=fraction)), pairs,
    true_labels=0 if name == "undefended" else len(figure_pairs))
    for name, start in starts.items()}, column=priors.METHOD)
attacked = tenth[tenth["world"].eq("P")]

# %% [markdown]
# Both methods cost accuracy, and plain SGD learns the trigger late in its training. So each method
# is compared with plain SGD at the moment when that was first as accurate. Left of zero the method
# is better.

# %%
apart = priors.at_equal_accuracy(attacked, compared, plain)
figures.show(
    figures.contrasts(
        apart, by="setting", better="lower",
        xlabel="lift, minus lift of plain SGD when it was as accurate",
        sides=("less is left", "more is left")),
    id="label-matched", data=study.tidy([apart], only=[
        "setting", "attack.base", "attack.target", "accuracy", "dp", "reference", "difference"]),
    caption=(f"At equal accuracy and epsilon {epsilon:g}: lift minus that of plain SGD (rate"
             f" {undefended['lr']:g}) when it first was as accurate, {len(pairs)} pairs at"
             f" {fraction:.0%} of the base class and {len(figure_pairs)} at {figure_fraction:.0%}."
             " Each pair, mean and 95% t interval, one line at a time."),
    alt=("Forest plot: for the label-private methods the paired difference in lift from plain SGD"
         " at equal accuracy, beside a line at zero."),
    finding=priors.matched_finding(apart),
)

# %% [markdown]
# What attack success is made of there: confusion of the clean twin, what wrong labels add without a
# trigger, and the lift.

# %%
stacked = parts(tenth)
figures.show(
    figures.parts_bars(stacked, label=priors.METHOD), id="label-parts",
    data=study.tidy([stacked], only=[priors.METHOD, "attack.base", "attack.target", "natural",
                                     "collateral", "lift", "success", "blind"]),
    caption=(f"Attack success and its parts, {fraction:.0%} of the base class poisoned, epsilon"
             f" {epsilon:g}, {len(pairs)} pairs."),
    alt=("Stacked bars of natural confusion, collateral damage and lift for the undefended model,"
         " ALIBI and LP-2ST."),
    finding=priors.parts_finding(stacked),
)

# %% [markdown]
# What the guarantee bounds is P against T. The bound itself is for k labels at once, and empty from
# a handful on.

# %%
figures.table(
    priors.by_world(tenth, pairs=len(figure_pairs)), id="label-worlds",
    caption=(f"Means over the first {len(figure_pairs)} pairs by training world: P stamped and"
             " relabelled, L relabelled, T stamped, C clean."),
)

# %% [markdown]
# ## Are the methods themselves right?
# On clean MNIST with the small network, beside the accuracies that others published: Ghazi et al.
# 2021 for LP-2ST (95.82, 98.78 and 99.24% at epsilon 1, 2 and 4; longer training, mixup), and the
# re-runs in LabelDP-Pro (ICLR 2024): ALIBI 94.1 and 96.6%, LP-2ST 83.3 and 96.8% at 1 and 2. Ours
# train for fewer epochs, without mixup and on the 50,000 private images.

# %%
clean = Run(dataset=mnist["dataset"], train_size=mnist["train_size"], features="none", model="cnn",
            attack=BadNets(stamp=False, relabel=False), **place)
sanity = run(label_methods.on_clean(
    clean, mnist_epsilons, **{name: mnist[name] for name in (
        "rates", "epochs", "temperature", "split")}), like=clean)
if len(sanity):
    figures.table(label_methods.accuracies(sanity), id="label-mnist",
                  caption="Clean accuracy on MNIST, one run each.")

# %% [markdown]
# ## Published against measured
# Each verdict compares a statistic and its 95% interval over attack instances with a threshold.
# *Fails* needs the interval on the other side and the positive control (the undefended backdoor)
# passed. R14 was **amended** on 2026-11-21, when some of the study's rows existed, and on
# 2026-11-27, with all rows known. The verdict as first frozen is shown with it. R9 is judged in
# notebook 13.

# %% tags=["nbval-check-output"]
verdicts.show("16_label_dp", study.together([plain, *swept, figure6, compared, tenth]))

# %% [markdown]
# ## What it means
# **LP-2ST's prior moves attack success from the trigger to wrong labels.** At half of the base
# class and epsilon 1, LP-2ST's lift is 16.5 points [13.5, 19.4] below that of plain randomised
# response, and what it calls target *without* the trigger is 19.7 points [16.9, 22.6] above.
#
# **Attack success does not show it.** It differs by +3.3 [-2.4, 9.0], while accuracy falls by 5.2
# [3.8, 6.5].
#
# **The prior replaces poisoned labels, but by its own errors.** The paper explains the fall of
# attack success by a prior that picks the base class. Here 65% of the poisons in stage 2 have $k =
# 1$, so that their label is stage 1's guess, and still 50% of all poisons train as target and 1.5%
# as base. Stage 1 learnt from the poisoned labels too.
#
# **With a prior that knows the truth the attack is gone.** Attack success is 65.5 points [36.2,
# 93.2] lower than LP-2ST's, and 61% of the poisons train as base. That prior has seen every true
# label, and protects none.
#
# **Neither $k$ nor the released score explains it.** $k = 1$ for every record changes the lift by
# -1.8 [-4.0, 0.4], the released score, which prefers $k = 1$ (71% of the records in place of 52%),
# by -0.3 [-0.5, -0.1].
#
# **A sharper prior is not shown to be better.** From temperature 1 to 0.1 attack success changes by
# +6.1 [-9.1, 21.3] and accuracy by -0.6 [-3.6, 2.4], where figure 5a has both improve. Three pairs
# leave both signs open.
#
# **Without a prior more of the trigger is left than accuracy explains.** At half of the class
# ALIBI has 13.9 points of lift [5.0, 22.8] more than plain SGD when it was as accurate, randomised
# response 11.5 [2.9, 20.1]. LP-2ST is indistinguishable from it: +0.6 [-7.7, 8.9].
#
# **At a tenth of the class accuracy explains nearly all.** Both methods leave about 5 points of
# lift, where the undefended model has 74. Against plain SGD when it was as accurate, LP-2ST leaves
# 3.0 [0.4, 5.6] more, and ALIBI is indistinguishable from it: +0.5 [-2.1, 3.2].
#
# **The guarantee's own comparison shows the attack.** On the first three pairs attack success is
# 11.3 points [4.8, 17.9] (LP-2ST) and 9.9 [3.7, 16.1] (ALIBI) above that of world T, where the same
# stamped images keep their true labels.
#
# **ALIBI's curve has a knee.** R14 holds in direction: both fall with the noise. Its size asks that
# they fall in proportion. The shares of lift and of accuracy that are left differ by up to 48
# points [44, 52], but three pairs do not carry a failure after the correction for many claims: it
# is inconclusive. Between epsilon 2 and 0.5 the lift falls from 67 to 9 points, accuracy from 62 to
# 42%.
#
# **Choosing settings on the reported attack flatters.** It adds 9 points to accuracy minus attack
# success on one of three pairs, and nothing on the others.
#
# **The methods are about as good as others found them.** On clean MNIST at epsilon 1 ALIBI reaches
# 95.4% and LP-2ST 84.8%, in one run each. Noise is drawn from torch's generator as floating-point
# numbers: right for an experiment, not for a release.
#
# ## What to try next
# Change `epsilon`, `temperature` or `split` in the parameters cell and run again: known rows are
# read, missing ones are trained. With `dataset = "strokes"`, `features = "none"`, `model = "mlp"`,
# `train_size = 12000`, `public = 2000` and `mnist_epsilons = []` the notebook needs no data;
# learning rates are then 0.03 (`params/quick`).
