"""G1 to G4 and G9 on made-up rows: where they hold, fail, cannot be decided, are not measured; the
runs of figure 1 and what notebook 50 makes of them.
"""

import math
import zlib

import numpy as np
import pandas as pd
import pytest

from lib import figures, papers, study
from lib.attacks.insertion import Insertion
from lib.attacks.interpolation import Interpolation
from lib.defences.dpsgd import DPSGD
from lib.figures import sketches
from lib.papers.hong import anatomy, anatomy_figures, bases, disturbance, headlines, taxonomies
from lib.study import Run

EPOCHS = 20
NOTEBOOK, OTHER = "50_gradient_anatomy", "51_indiscriminate"
LINEAR = {"dataset": "fashion-mnist:3-4", "model": "linear", "train_size": 10800, "start": ""}
NETWORK = {"dataset": "fashion-mnist", "model": "mlp-256-256", "train_size": math.nan, "start": "k"}
PLAIN = {"defence.name": "dpsgd", "defence.clip": False, "defence.noise_multiplier": 0.0,
         "defence.max_grad_norm": 1.0}
CLIPPED = PLAIN | {"defence.clip": True, "defence.max_grad_norm": 4.0}
RUN = {"status": "ok", "split": "test", "weights": "last", "world": "P", "public": 0, "goal": "",
       "features": "none", "anatomy": True, "accuracy": 0.93, "lift": 0.9} | PLAIN


def noise(*key):
    return np.random.RandomState(zlib.crc32(repr(key).encode()))


class Rows:
    """Made-up rows, with the paths that belong to them."""

    def __init__(self):
        self.rows, self.points, self.curves = [], [], []

    def add(self, ratio, cosine, *, draw, gap=2.0, balance=108.0, **values):
        """One run; ratio, cosine: a number, or a function of the epoch."""
        key = repr(sorted({"draw": draw, **values}.items(), key=str))
        self.rows.append(RUN | {"key": key, "twin": key, "attack_seed": draw} | values)
        random = noise(key)
        self.curves.append({"key": key, "epoch": 1.0, "loss_clean": 0.3,
                            "loss_poison": 0.3 + gap + 0.01 * random.randn()})
        for epoch in range(1, EPOCHS + 1):
            r, c = (one(epoch) if callable(one) else one for one in (ratio, cosine))
            r, c = r * math.exp(0.02 * random.randn()), c + 0.02 * random.randn()
            self.points.append({"key": key, "epoch": epoch, "step": epoch, "ratio": r, "cosine": c,
                                "ratio_all": r, "cosine_all": c, "poison_records": 100.0,
                                "clean_records": 100.0 * balance, "share": r / (r + balance),
                                "share_clipped": math.nan})
        return self

    def frames(self, notebook=NOTEBOOK):
        return {notebook: pd.DataFrame(self.rows), f"{notebook}/curves": pd.DataFrame(self.curves),
                f"{notebook}/anatomy": pd.DataFrame(self.points)}


def blends(ratios=(20.0, 60.0), cosines=(-0.2, -0.6), mixings=(0.0, 0.1, 0.4, 1.0), draws=5,
           **values):
    """Rows of both scenarios with these mean ratios and cosines; weaker blends have weaker ones."""
    made = Rows()
    for place, ratio, cosine, balance in zip((LINEAR, NETWORK), ratios, cosines, (108, 600)):
        for mixing in mixings:
            for draw in range(draws):
                made.add(ratio, cosine * (0.4 + 0.6 * mixing), draw=draw, balance=balance,
                         **{"attack.name": "interpolation", "attack.mixing": mixing} | place
                         | values)
    return made


def patches(ratio, cosine, *, sizes=(4.0, 7.0), draws=5, **values):
    made = Rows()
    for size in sizes:
        for draw in range(draws):
            made.add(ratio, cosine, draw=draw,
                     **{"attack.name": "insertion", "attack.size": size} | NETWORK | values)
    return made


def outcome(name, frames):
    one = papers.claim(name)
    return one.measure(frames, one)


def word(name, made, **more):
    return outcome(name, made.frames(**more)).direction.outcome


def test_g1():
    assert word("G1", blends()) == "holds"
    assert word("G1", blends(ratios=(20, 0.5))) == "fails"
    assert word("G1", blends(cosines=(0.3, -0.6))) == "fails"
    assert word("G1", blends(cosines=(0.3, -0.6), gap=-1.0)) == "inconclusive"  # no collision
    assert word("G1", blends(gap=-1.0)) == "inconclusive"
    assert word("G1", blends(mixings=(0.0, 0.1))) == "not measured"
    only = {name: frame[frame["start"].eq("")] if "start" in frame else frame
            for name, frame in blends().frames().items()}
    got = outcome("G1", only)
    assert got.direction.outcome == "inconclusive" and "re-training" in got.direction.reason


def test_g1_says_what_any_poison_would_have():
    got = outcome("G1", blends().frames())
    assert got.note.endswith("near 108 (from scratch, blends), 600 (re-training, blends)")
    assert got.setup == "as published" and got.direction.n == 5
    drawn = outcome("G1", blends(dataset="strokes:3-8").frames())
    assert drawn.setup.startswith("effect only: strokes:3-8, linear for Fashion-MNIST 3 and 4")


def test_g2():
    assert word("G2", blends()) == "holds"
    assert word("G2", blends(ratios=(60, 20))) == "fails"
    assert word("G2", blends(ratios=(60, 20), accuracy=0.5)) == "inconclusive"
    got = outcome("G2", blends(ratios=(20, 60)).frames())
    assert got.direction.measured == pytest.approx(math.log(3), abs=0.05)
    (name, odds, _), = got.beside  # three times the ratio, of 5.6 times as many clean records
    assert name == "log odds" and odds.outcome == "fails"
    assert odds.measured == pytest.approx(math.log(3 * 108 / 600), abs=0.05)


def test_g2_leaves_out_harmless_copies():
    made = blends(ratios=(60, 20), mixings=(0.0,))
    assert word("G2", made) == "not measured"


def test_g3():
    assert word("G3", blends()) == "holds"
    assert word("G3", blends(cosines=(0.3, -0.6))) == "fails"
    assert word("G3", blends(mixings=(0.4, 1.0))) == "not measured"


def shrinking(epoch):
    return 30.0 if epoch < 10 else 3.0


def test_g4():
    assert word("G4", patches(shrinking, lambda epoch: -0.02 * (30 - epoch))) == "holds"
    growing = patches(lambda epoch: 2.0 * epoch, lambda epoch: -0.02 * epoch)
    assert word("G4", growing) == "fails"
    assert word("G4", patches(shrinking, -0.4)) == "inconclusive"  # only the ratio shrinks
    unlearnt = patches(shrinking, lambda epoch: -0.02 * (30 - epoch), lift=0.1)
    assert word("G4", unlearnt) == "inconclusive"
    assert word("G4", blends()) == "not measured"


def test_g4_judges_the_patches_that_are_learnt():
    made = patches(shrinking, lambda epoch: -0.02 * (30 - epoch))
    for draw in range(5):
        made.add(lambda epoch: 2.0 * epoch, -0.5, draw=draw, lift=0.05,
                 **{"attack.name": "insertion", "attack.size": 1.0} | NETWORK)
    got = outcome("G4", made.frames())
    assert got.direction.outcome == "holds"
    assert got.note == "not learnt: patches of 1 pixels a side"


def indiscriminate(flipped=(2.5, 2.2), slab=(2.5, 3.6), *, draws=10, cost=0.03, **more):
    made = Rows()
    for name, ratios in (("label_flip", flipped), ("slab", slab)):
        for defence, ratio in zip((PLAIN, CLIPPED), ratios):
            for draw in range(draws):
                one = LINEAR | defence | {"attack.name": name, "attack.fraction": 0.4} | more
                made.add(ratio, -0.9, draw=draw, balance=2.5, goal="availability", **one,
                         accuracy=0.95 - cost + 0.001 * noise(draw, name).randn())
                row = made.rows[-1]
                made.rows.append(row | {"key": f"{row['key']}C", "world": "C", "accuracy": 0.95})
    return made


def test_g9():
    assert word("G9", indiscriminate(), notebook=OTHER) == "holds"
    assert word("G9", indiscriminate(flipped=(1.85, 2.3)), notebook=OTHER) == "fails"
    assert word("G9", indiscriminate(slab=(2.5, 2.49)), notebook=OTHER) == "inconclusive"
    free = indiscriminate(flipped=(1.85, 2.3), cost=0.0)
    assert word("G9", free, notebook=OTHER) == "inconclusive"  # flips cost nothing
    got = outcome("G9", indiscriminate().frames(OTHER))
    assert got.setup.startswith("as published; ratios before clipping")
    assert got.note.endswith("near 2.5 (flipped), 2.5 (slab)")


def test_g9_stands_beside_its_reading_of_clipped_gradients():
    made = indiscriminate()
    for row, point in ((row, point) for row in made.rows if row["defence.clip"]
                       for point in made.points if point["key"] == row["key"]):
        part = (1.9 if row["attack.name"] == "label_flip" else 2.4) * math.exp(0.1 * noise(
            point["epoch"], row["key"]).randn())
        point["share_clipped"] = part / (part + 2.5)  # both below the 2.5 of vanilla
    ((name, direction, size),) = outcome("G9", made.frames(OTHER)).beside
    assert name == disturbance.SUMMED and size is None
    assert direction.outcome == "fails" and "slab" in direction.path


def test_g9_without_anatomy_is_not_measured():
    frames = indiscriminate().frames(OTHER)
    frames[OTHER]["anatomy"] = False
    assert outcome("G9", frames).direction.outcome == "not measured"


def test_figure_4_has_a_line_a_run_and_epoch():
    frames = indiscriminate(draws=3).frames(OTHER)
    found = disturbance.figure4(frames[OTHER], paths=frames[f"{OTHER}/anatomy"])
    assert len(found) == 2 * 2 * 3 * EPOCHS and set(found["attack"]) == {"flipped", "slab"}
    assert set(found["norm"]) == {"not clipped", "C 4"}
    assert found["balance"].to_numpy() == pytest.approx(2.5)


# ---------------------------------------------------------------- runs and frames

SHORT = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.0, "epochs": 2.0, "batch_size": 100,
         "every": 0.5}


def probe_runs():
    first = anatomy.scratch("strokes:3-8", "linear", (0, 1), 10, SHORT, train_size=300,
                            test_size=100)
    clean = bases.base("fashion-mlp", dataset="strokes", model="mlp", train_size=600, test_size=100,
                       training__epochs=1.0, training__every=0.0)
    second = anatomy.retrained(clean, Interpolation(3, 8, count=10), SHORT)
    third = anatomy.retrained(clean, Insertion(4, 0.05), SHORT)
    return [*anatomy.blends(first, [0.0, 1.0], draws=2), *anatomy.blends(second, [1.0], draws=1),
            *anatomy.patches(third, [1, 7], draws=1),
            *anatomy.clipped(anatomy.blends(first, [1.0], draws=1), [0.5])]


def test_the_runs_of_figure_1():
    runs = probe_runs()
    assert len({run.key for run in runs}) == len(runs) == 8
    assert {run.anatomy for run in runs} == {True} and {run.init_seed for run in runs} == {0}
    assert runs[0].start is None and runs[4].start.attack.in_world == "C"
    assert runs[-1].defence == DPSGD(0.0, max_grad_norm=0.5)
    assert isinstance(anatomy.victim("strokes", "mlp", Interpolation(), SHORT), Run)


def test_frames_of_notebook_50(store):
    frame = study.run(probe_runs())
    assert (frame["status"] == "ok").all()
    named = anatomy.named(frame)
    assert set(named["scenario"]) == {anatomy.SCRATCH, anatomy.RETRAINED, anatomy.INSERTED}
    paths = anatomy.epochs(named)
    assert len(paths) == 8 * 2
    found = anatomy_figures.orders(paths)
    assert len(found) == 7 and found["probe"].iloc[0] == "scratch, harmless copies"
    assert found["balance"].to_numpy() == pytest.approx([30] * 4 + [60] + [20] * 2, rel=0.05)
    assert "harmless copies and" in anatomy_figures.finding(found)
    assert len(anatomy_figures.table(found)) == 5
    assert anatomy_figures.shrinking(anatomy.change(paths)).count("pixels, ratio") == 2
    strong = anatomy_figures.strongest(named)
    assert set(strong["level"]) == {1.0, 7.0}
    points = anatomy.epochs(strong)
    plain = points[points["norm"].eq(anatomy.VANILLA)]
    single = anatomy_figures.records(plain)
    assert len(single) == 4 * len(plain)
    assert len(anatomy_figures.windows(single, ["series"])) == len(single)  # paths are short
    long = points.iloc[[0] * 20].assign(epoch=range(1, 21), ratio=range(20))
    windows = anatomy_figures.windows(long, ["norm"])
    assert windows["epoch"].tolist() == [4, 8, 12, 16, 20]
    assert windows["ratio"].tolist() == [1.5, 5.5, 9.5, 13.5, 17.5]
    summed = anatomy_figures.sums(points[points["scenario"].eq(anatomy.SCRATCH)])
    assert summed["part"].between(0, 1).all() and len(anatomy_figures.share_table(summed)) == 2
    assert "C 0.5" in anatomy_figures.share_finding(summed)


def test_frames_without_any_row():
    empty = anatomy.named(study.run([], like=probe_runs()[0]))
    paths = anatomy.epochs(empty)
    found = anatomy_figures.orders(paths)
    assert found.empty and anatomy_figures.finding(found) == ""
    assert anatomy_figures.table(found).empty and anatomy_figures.longer(paths) == ""
    summed = anatomy_figures.sums(paths)
    assert anatomy_figures.share_table(summed).empty
    assert anatomy_figures.share_finding(summed) == ""
    assert anatomy_figures.shrinking(anatomy.change(paths)) == ""
    assert anatomy_figures.records(paths).empty
    specs = anatomy_figures.panels(anatomy_figures.labelled(paths), {"cosine": "cosine"},
                                   series="series")
    assert len(specs) == 3 and len(figures.panels(specs).axes) == 3


def test_the_headline_holds_harmless_copies_beside_blends(store):
    frame = study.run(probe_runs())
    shown = headlines.gradient_anatomy(frame)
    assert list(dict.fromkeys(shown.data["probe"])) == [
        "scratch, harmless copies", "scratch, mixing 1", "re-trained, mixing 1"]
    assert "scratch, " in shown.finding and shown.figure.axes


def test_the_sketch_is_what_it_says():
    clean, poisoned, clipped = sketches.final_losses().values()
    assert clean < clipped < 0.1 < poisoned
    assert len(figures.shaping().axes[0].get_lines()) == 5


def test_the_taxonomies_have_the_papers_rows():
    assert len(taxonomies.attacks()) == 11 and len(taxonomies.defences()) == 6
