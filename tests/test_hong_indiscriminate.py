"""Notebook 51: its runs, RAD by hand, its claims on made-up rows."""

from lib.papers.hong import indiscriminate
from lib.papers.hong.indiscriminate import FLIPS, SLAB, VANILLA
from lib.study import measure

BASE = indiscriminate.base("strokes:1-7", train_size=400, test_size=200, epochs=4, batch_size=40,
                           lr=0.01)
ARMS = indiscriminate.vanilla() | indiscriminate.clipped([4, 0.1]) | indiscriminate.absolute(
    4, [0.1])


# ---- runs

def test_both_conventions_of_noise():
    known = ARMS | indiscriminate.multiples(4, [0.1]) | indiscriminate.private([1], 1.0)
    assert list(known) == ["vanilla", "C 4", "C 0.1", "C 4, noise 0.1", "C 4, noise 0.4",
                           "epsilon 1"]
    deviations = {name: one.mechanism()["noise"] for name, one in known.items()
                  if one.epsilon is None}
    assert deviations["C 4, noise 0.1"] == 0.1 and deviations["C 4, noise 0.4"] == 0.4
    assert deviations["vanilla"] == 0 and not known["vanilla"].clip


def test_the_grid_holds_every_arm_share_and_draw():
    runs = indiscriminate.grid(BASE, ARMS, shares=[0.1, 0.4], draws=3)
    assert len(runs) == len({run.key for run in runs}) == 2 * 2 * 4 * 3
    assert {run.attack.fraction for run in runs} == {0.1, 0.4}
    assert {(run.attack_seed, run.init_seed, run.noise_seed) for run in runs} == {
        (draw, 0, draw) for draw in range(3)}
    early = {run.training.checkpoints > 0 for run in runs if not run.defence.clip}
    assert early == {True} and all(run.training.every == 1.0 for run in runs)


def test_clean_runs_serve_every_attack_and_share():
    clean = indiscriminate.clean(BASE, ARMS, draws=3)
    assert len(clean) == 3 + 3 and all(run.attack.in_world == "C" for run in clean)
    known = {measure.identity(run) for run in clean}
    for run in indiscriminate.grid(BASE, ARMS, shares=[0.1], draws=3):
        if run.attack_seed == 0 or indiscriminate.noisy(run.defence):
            assert measure.identity(run.in_world("C")) in known


def test_pairs_are_draws_of_their_own():
    runs = indiscriminate.pairs(BASE, indiscriminate.vanilla(), [(1, 7), (3, 5)])
    assert [(run.dataset, run.attack_seed, run.attack.in_world) for run in runs] == [
        (name, draw, world) for draw, name in enumerate(("strokes:1-7", "strokes:3-5"))
        for world in "PPC"]
    assert [type(indiscriminate.attack(kind, 0.1)).__name__ for kind in (FLIPS, SLAB)] == [
        "LabelFlip", "Slab"]
    (unclipped,) = indiscriminate.variants(BASE, [{"clip_pixels": False}], draws=1)
    assert not unclipped.attack.clip_pixels and unclipped.defence == ARMS[VANILLA]
