# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What poison does to gradients
# *A ratio of gradient norms above 1 does not tell poison apart: a hundred harmless copies of clean
# images have one too, because the mean gradient of everything else is close to zero.*
#
# Hong et al., sections 3 to 5: figures 1 and 2, tables 1 and 2, the sketches of figures 3 and 9,
# and claims G1 to G4. Notebooks 51 to 53 test what follows from them: that clipping is a defence.

# %%
import sys

sys.path.append("..")  # for a kernel from outside the project's environment
from lib import papers

papers.headline("50_gradient_anatomy")

# %% [markdown]
# ## Method
# Along a training, take the gradient $g_i$ of every record's loss at the weights of that moment.
# The paper compares the mean gradients of poison $P$ and of clean records $K$, in the kernel of the
# last layer. It averages them over the batches of an epoch; here the weights stand still and the
# means are over the whole training set.
#
# $$r = \frac{\lVert \bar g_P \rVert}{\lVert \bar g_K \rVert}, \qquad
# \cos = \frac{\langle \bar g_P, \bar g_K \rangle}{\lVert \bar g_P \rVert \lVert \bar g_K \rVert}$$
#
# Wherever training has converged, all gradients sum to zero: $|P|\,\bar g_P = -|K|\,\bar g_K$.
# There the ratio is $|K| / |P|$ and the cosine is -1, whatever the poison is.

# %% [markdown]
# ## Set-up and parameters
# First what a reader seldom changes. `papermill` and the files of `params/` can set any name of
# both cells.

# %% tags=["setup"]
train_size = 10800  # training images of the model from scratch; null: all
# the model from scratch
scratch = {
    "optimizer": "adam", "lr": 0.01, "momentum": 0.0, "epochs": 40.0, "batch_size": 300,
    "every": 0.5
}
base = {}  # changes to the clean network that is re-trained, as Run.with_ takes them
# the network re-trained with blends
retraining = {
    "optimizer": "sgd", "lr": 0.04, "momentum": 0.0, "epochs": 20.0, "batch_size": 100, "every": 1.0
}
# the same network re-trained with patches
insertion = {
    "optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "epochs": 20.0, "batch_size": 100, "every": 1.0
}
label = 4  # that patched images get: coat
pictured = "strokes"  # data set of the pictures, drawn here, so that they need no download
pictured_classes = [3, 8]  # their two classes

# %% [markdown]
# Then what is worth changing. A changed number trains what is missing.

# %% tags=["parameters"]
dataset = "fashion-mnist:3-4"  # of the model from scratch: two classes (3 dress, 4 coat)
model = "linear"  # softmax regression
network = "fashion-mlp"  # the network that is re-trained: a key of lib.papers.hong.bases.CASES
classes = [3, 4]  # the same two classes among all: labels of the blends, and what is laid over them
count = 100  # blends
mixings = [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]  # weight of the other class; 0: harmless copies
fraction = 0.01  # patched copies per training image
sizes = [1, 4, 7, 10, 14]  # pixels of the patch's side
draws = 10  # of the blends, for the model from scratch
network_draws = 5  # of the blends and patches, for the network
norms = [4.0, 1.0, 0.1]  # clipping norms of the model from scratch
network_norms = [1.0]  # clipping norms of the network

# %% [markdown]
# ## Figure 2: the probes
# *Collision*: images of one class (dress) with one of another (coat) laid over them, labelled as
# the first. *Insertion*: copies of images of any class with a white square in the corner, labelled
# coat. The pictures are drawn digits.

# %%
from lib import data, figures, study, verdicts
from lib.attacks.insertion import Insertion
from lib.attacks.interpolation import Interpolation
from lib.papers.hong import anatomy, anatomy_figures, bases, taxonomies
from lib.study import run

drawn = data.load(pictured)
figures.show(
    figures.image_grid(*anatomy_figures.pictures(
        drawn.train_images, drawn.train_labels, pictured_classes, mixings[::2], sizes[::2]),
        columns=7),
    id="hong-F2",
    caption=("Figure 2 of Hong et al., with drawn digits: one pair at every second mixing, and one"
             " image with every second patch."),
    alt="Small images: a digit that turns into another one, and a digit with growing squares.",
    finding=anatomy_figures.covered(sizes, drawn.train_images),
)

# %% [markdown]
# ## The runs
# Three scenarios: softmax regression trained from scratch with a hundred blends; a network that was
# trained on the clean data, trained on with a hundred blends; the same network with 1% patched
# copies. Each draw of the poison is an instance.

# %%
first = anatomy.scratch(dataset, model, (0, 1), count, scratch, train_size=train_size)
clean = bases.base(network, **base)
second = anatomy.retrained(clean, Interpolation(*classes, count=count), retraining)
third = anatomy.retrained(clean, Insertion(label, fraction), insertion)
rows = run([*anatomy.blends(first, mixings, draws=draws),
            *anatomy.blends(second, mixings, draws=network_draws),
            *anatomy.patches(third, sizes, draws=network_draws)])
paths = anatomy.epochs(anatomy.named(rows))

# %% [markdown]
# ## Figure 1: ratio and cosine along the training
# The paper draws a ratio above 1 and a cosine below 0 for the blends, closer to -1 the more of the
# other class they hold. Nothing here is better or worse: the figure describes an attack.

# %%
probes = anatomy_figures.windows(anatomy_figures.labelled(paths), ["series"])
measures = {"log10 ratio": "ratio of norms [powers of 10]", "cosine": "cosine"}
blended = probes[probes["scenario"].ne(anatomy.INSERTED)]
figures.show(
    figures.panels(anatomy_figures.panels(blended, measures, series="series", scenarios=[
        anatomy.SCRATCH, anatomy.RETRAINED])),
    id="hong-F1", data=anatomy_figures.thin(blended, ["scenario", "series", "epoch"], measures),
    caption=("Figure 1 of Hong et al., blends: norm of the mean poison gradient over that of the"
             " mean clean one, and their cosine, last layer, by epoch (means over windows of epochs"
             f" and over {draws} and {network_draws} draws of the poison, which share initial"
             " weights and batches)."),
    alt="Four panels: ratio and cosine by epoch in two scenarios, a line a mixing.",
)

# %% [markdown]
# The patches, of which the paper says that both measures come close to zero as they are learnt:

# %%
patched = probes[probes["scenario"].eq(anatomy.INSERTED)]
figures.show(
    figures.panels(anatomy_figures.panels(
        patched, measures, series="series", scenarios=[anatomy.INSERTED])),
    id="anatomy-patches", data=anatomy_figures.thin(patched, ["series", "epoch"], measures),
    finding=anatomy_figures.shrinking(anatomy.change(paths)),
    caption=("Figure 1 of Hong et al., patches: ratio and cosine by epoch for squares of each size,"
             f" means over {network_draws} draws of the patched images."),
    alt="Two panels: ratio and cosine by epoch, a line a size of the patch.",
)

# %% [markdown]
# The paper's number is the mean over the epochs. The control that the paper does not have is a
# mixing of 0: copies of clean images with their own label. The column *where all cancel* is
# $|K| / |P|$.

# %%
found = anatomy_figures.orders(paths)
figures.table(
    anatomy_figures.table(found), id="anatomy-means", missing="–",
    caption=("Mean ratio over the epochs (geometric mean over the draws) and mean cosine, with 95%"
             " t intervals over the draws."),
)

# %% [markdown]
# ## Single records
# Clipping acts on single gradients, not on means. These are the norms of single records, and their
# cosines with the mean clean gradient, for the strongest blends and the middle patch.

# %%
strong = anatomy_figures.strongest(anatomy.named(rows))
points = anatomy.epochs(strong)
single = anatomy_figures.windows(anatomy_figures.records(points), ["series"])
measures = {"norm": "norm [powers of 10]", "cosine": "cosine with mean clean gradient"}
figures.show(
    figures.panels(anatomy_figures.panels(single, measures, series="series"), columns=3),
    id="anatomy-records", finding=anatomy_figures.longer(points),
    data=anatomy_figures.thin(single, ["scenario", "series", "epoch"], measures),
    caption=("Gradients of single records over all parameters: median and 95% quantile of poison"
             " and of clean records by epoch, means over the draws."),
    alt="Six panels: norms and cosines of single poison and clean records by epoch.",
)

# %% [markdown]
# ## What clipping leaves of the poison
# The same trainings with every gradient clipped. Poison's *share* of the sum is the norm of its
# part over the norms of both parts; its *opposition* is how much of the clean part it cancels.

# %%
clipped = run([
    *anatomy.clipped(anatomy.blends(first, mixings[-1:], draws=draws), norms),
    *anatomy.clipped(anatomy.blends(second, mixings[-1:], draws=network_draws), network_norms)])
strong = anatomy.named(study.together([rows, clipped]))
summed = anatomy_figures.sums(anatomy.epochs(
    strong[strong["level"].eq(mixings[-1]) & strong["scenario"].ne(anatomy.INSERTED)]))
measures = {"part": "share of the sum", "against": "opposition"}
drawn_sums = anatomy_figures.windows(summed, ["norm"])
figures.show(
    figures.panels(anatomy_figures.panels(drawn_sums, measures, series="norm", scenarios=[
        anatomy.SCRATCH, anatomy.RETRAINED])),
    id="anatomy-shares", finding=anatomy_figures.share_finding(summed),
    data=anatomy_figures.thin(drawn_sums, ["scenario", "norm", "epoch"], measures),
    caption=("Poison's share of the sum of gradients that a step takes, and its opposition, by"
             f" epoch; blends of mixing {mixings[-1]:g}, without noise, means over the draws."),
    alt="Four panels: poison's share of the gradient sum and its opposition by clipping norm.",
)

# %% [markdown]
# How many records are clipped at all:

# %%
figures.table(
    anatomy_figures.share_table(summed), id="anatomy-clipped", missing="–",
    caption="The same in numbers: means over the path and the draws.",
)

# %% [markdown]
# ## Tables 1 and 2, figures 3 and 9
# The paper sorts attacks by what they do to gradients. It expects a higher norm and an opposed
# direction from all of them but the oldest.

# %%
figures.table(
    taxonomies.attacks(), id="hong-T1", missing="–",
    caption=("Table 1 of Hong et al., without what each attacker knows: attacks by goal and"
             " mechanism."),
)

# %% [markdown]
# The defences before it remove outliers, and must know data, model or targets for it.

# %%
figures.table(
    taxonomies.defences(), id="hong-T2", missing="–",
    caption="Table 2 of Hong et al.: what a defence acts on and what it needs.",
)

# %% [markdown]
# The idea of the paper's sketches, computed on a toy loss of two weights: one poison with a long
# gradient drags the descent away, and bounding every record's gradient lets three clean ones win.

# %%
figures.show(
    figures.shaping(), id="hong-F3",
    caption=("After figures 3 and 9 of Hong et al.: three descents on a toy loss (contours), with"
             " poison that pulls to one point. A sketch; nothing is trained."),
    alt="Contours of a loss with three paths: clean, poisoned, and with clipped gradients.",
    finding=anatomy_figures.toy_finding(),
)

# %% [markdown]
# ## Published against measured
# Each verdict compares a statistic and its 95% interval over draws of the poison with a threshold.
# *Fails* needs the interval on the other side and the positive control passed. *log odds*, beside
# G2, compares poison's part of the sum with the clean part, which the size of the clean set does
# not change.

# %% tags=["nbval-check-output"]
verdicts.show("50_gradient_anatomy", rows)

# %% [markdown]
# ## What it means
# **A ratio above 1 is no mark of poison.** The mean clean gradient shrinks as the model learns, and
# the mean of any hundred records does not shrink with it. Harmless copies show how much of the
# paper's ratio is that (first table).
#
# **The paper's own averages lie near where all gradients would cancel.** With 40% of poison, that
# ratio is 10,800 / 4,320 = 2.5. The paper prints 2.527 for flipped labels and 2.497 for the slab
# attack (figure 4), two attacks that differ six-fold in what they cost; the file released with it
# gives about 1.85 in place of 2.527. Notebook 51 measures both. A ratio near $|K| / |P|$ does not
# show that gradients do cancel: of the strongest blends from scratch it is 113, where 108 is
# $|K| / |P|$, but their mean cosine is -0.47, and that of the last epoch -0.05 [-0.19, 0.09].
#
# **Re-training lowers the ratio; the paper finds that it raises it.** At equal mixing it is 0.4
# times that from scratch (G2), although the ratio where all gradients cancel rises from 108 to 600
# with the clean images, for the same hundred poisons. The log odds beside G2 leave that out.
#
# **The cosine needs convergence to mean anything.** Where gradients cancel, the cosine of whatever
# is fitted least is close to -1. The network that is re-trained is not there: all its blends have a
# cosine near 0, harmless copies too, so G1 stays open while more of the other class still lowers it
# (G3).
#
# ## What to try next
# Change `mixings`, `sizes` or `norms` in the parameters cell and run again: known rows are read,
# missing ones are trained. Notebook 51 has the same measures for flipped labels and the slab
# attack, notebook 52 for a single poison.
