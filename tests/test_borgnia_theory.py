"""DP-InstaHide's guarantees (notebook 22): formulas, claims about formulas, the membership game."""

import math

import numpy as np
import pytest
import torch
from test_privacy_instahide import KNOWN

from lib import figures, papers, verdicts
from lib.papers.borgnia import guarantees, membership
from lib.privacy import instahide_epsilon

# ---------------------------------------------------------------- figure 4a and its claims

def test_figure_4a_is_theorem_2():
    found = guarantees.figure_4a().set_index(["scale", "k"])
    assert len(found) == 5 * 8
    for scale in (4, 16, 32):
        assert found.loc[scale, "printed"].tolist() == pytest.approx(KNOWN[scale / 255], rel=5e-6)
    assert (found["claimed"] < found["plain"]).sum() == 5 * 7  # all but k = 1, where they agree
    assert (found["printed"] > found["plain"]).all() and (found["printed"] < found["bound"]).all()


def test_claims_about_formulas_are_judged_without_rows():
    found = {one.claim.id: one for one in verdicts.evaluate({}, of={"borgnia"})}
    bound, plain, own = (found[name].direction for name in ("I11a", "I11b", "I11c"))
    assert bound.outcome == "arithmetic" and bound.measured > 0 and bound.n == 7 * 8
    assert plain.outcome == "fails" and "49 of 49 settings" in plain.reason
    assert own.outcome == "fails" and "14 of 49" in own.reason and "0.455 at k 2" in own.reason
    assert found["I11"].direction.outcome == "fails"
    assert found["I12"].direction.outcome == "not measured"
    listed = verdicts.targets_table({}).set_index("id")["measured by"]
    assert (listed[["I11", "I11a", "I11b", "I11c", "borgnia-F4a"]] == "computed").all()


@pytest.mark.parametrize("k, sigma", [(2, 0.455), (8, 0.275)])
def test_where_the_factor_k_ends(k, sigma):
    n, at = 50_000, guarantees.crossing(k)
    assert at == pytest.approx(sigma, abs=5e-4)
    for scale, holds in ((0.99 * at, True), (1.01 * at, False)):
        assert (instahide_epsilon(n, n, k, scale) <= instahide_epsilon(n, n, 1, scale) / k) == holds


def test_accounts_of_one_pass():
    found = guarantees.accounts([16, 255], [1, 4], n=50_000, batch_size=128, delta=1e-5)
    assert found["as run"].tolist() == pytest.approx(found["plain"].tolist(), rel=1e-3)
    assert (found["as run"] <= found["plain"]).all()
    assert (found["removed"] <= found["replaced"]).all()
    assert "at most 0.02% less" in guarantees.accounts_finding(found)
    spec, = guarantees.panels(found[found["scale"] == 16])
    assert spec["frame"]["series"].nunique() == 4 and "σ = 0.063" in spec["title"]


def test_steps_from_the_printed_number_to_none():
    found = guarantees.steps(16, 4, n=50_000, pixels=3072, epochs=40, batch_size=128, delta=1e-5,
                             label_scale=1.0)["epsilon"].tolist()
    a_pass = 3072 * 255 / 16
    assert found[0] == pytest.approx(210.563, rel=1e-5)
    assert found[1:3] == pytest.approx([6.11528e8, 40 * 6.11528e8], rel=1e-5)
    assert found[3] == pytest.approx(40 * a_pass) and found[4] <= found[3]
    assert found[5] == math.inf and found[6] > found[4]
    assert found[7] == pytest.approx(a_pass + 2)


def test_many_passes_and_labels():
    line = guarantees.passes([(255, 1)], [1, 8], epochs=40, n=50_000, batch_size=128, delta=1e-5)
    assert line["pure"][0] == 40
    assert line["k = 8"][0] == pytest.approx(11.438, rel=1e-3)
    assert line["k = 1"][0] == pytest.approx(33.247, rel=1e-4)
    found = guarantees.labels([2.0], epochs=40, k=4, n=50_000, batch_size=128, delta=1e-5,
                              classes=10)
    assert found["stays true"][0] == pytest.approx(0.231969, abs=1e-6)  # of epsilon 1
    assert 40 / 4 < found["label epsilon"][0] < 40


def test_the_printed_sign_is_refuted_by_a_training_without_poison():
    found = guarantees.cost_bounds([(0.1, 0.0, 10), (1.0, 1e-5, 0)], cost=-0.5, largest=2.0)
    assert found["printed bound"][0] == pytest.approx(-0.18394, abs=1e-5)
    assert found["corrected bound"][0] == pytest.approx(-1.359141, abs=1e-6)
    assert found["refuted by no poison"].all()
    assert (found["corrected bound"] <= -0.5).all()


# ---------------------------------------------------------------- the game

@pytest.fixture(scope="module")
def digits():
    return membership.pool(120, seed=0)


@pytest.mark.parametrize("alone", [True, False])
def test_games_are_drawn_as_said(digits, alone):
    images, labels = digits
    random = torch.Generator().manual_seed(3)
    drawn = membership.draw(images, labels, 8, 50, random, alone=alone)
    assert drawn.images.shape == (50, 8, 1, 28, 28) and drawn.labels.shape == (50, 8, 10)
    classes = drawn.labels.argmax(2)
    target = classes[:, 0]
    assert (drawn.other_label.argmax(1) != target).all()
    same = (classes[:, 1:] == target[:, None]).any(1)
    assert not same.any() if alone else same.any()
    for game in range(50):  # nine different records, the two candidates among them
        records = torch.cat([drawn.images[game], drawn.other_image[game][None]]).flatten(1)
        assert len(records.unique(dim=0)) == 9
    inside, outside = drawn.world(True), drawn.world(False)
    assert all(torch.equal(one[:, 1:], two[:, 1:]) for one, two in zip(inside, outside))
    assert torch.equal(outside[0][:, 0], drawn.other_image)


def test_a_release_adds_up_to_the_records(digits):
    random = torch.Generator().manual_seed(1)
    drawn = membership.draw(*digits, 8, 5, random, alone=False)
    game = membership.Game("x", "labels", 1e-7, 1.0)
    images, labels = membership.release(drawn.images, drawn.labels, game, 4, random)
    assert torch.allclose(images.sum(1), drawn.images.sum(1), atol=1e-4)
    assert torch.allclose(labels.sum(1), drawn.labels.sum(1), atol=1e-5)
    assert not torch.allclose(images, drawn.images, atol=0.05)
    noisy = membership.release(drawn.images, drawn.labels,
                               membership.Game("x", "labels", 1e-7, 1.0, label_scale=0.5), 4,
                               torch.Generator().manual_seed(1))[1]
    assert (noisy - noisy.round(decimals=2)).abs().max() > 1e-4


def test_games_find_what_is_not_protected_and_nothing_else(digits):
    found = membership.table(membership.games(784), *digits, records=8, width=4, trials=250, seed=0,
                             confidence=0.99).set_index("game")
    labels, images = found.iloc[:2], found.iloc[3]
    assert (labels["advantage"] == 1).all() and (labels["at least"] > 3.5).all()
    assert (labels["true"] == math.inf).all()
    assert images["at least"] > images["printed"]
    assert (found["at least"] <= found["true"]).all()  # no true epsilon is ever refuted
    control = found.iloc[[2, 4]]
    assert (control["at least"] == 0).all() and (control["advantage low"] < 0).all()
    assert "none refutes the epsilon" in membership.finding(found.reset_index())
    words = membership.texts(found.reset_index())
    assert words["refutes the printed one"].tolist() == [True, True, False, True, False]
    assert len(membership.shares(found.reset_index())) == 10


def test_the_threshold_comes_from_other_games(digits):
    """Scores without a signal: the bound on fresh games must not profit from the choice."""
    game = membership.Game("images", "images", 1e6, 1.0)
    shown = [membership.table([game], *digits, records=4, width=2, trials=60, seed=seed,
                              confidence=0.9)["at least"][0] for seed in range(6)]
    assert np.mean([one > 0 for one in shown]) <= 0.5


# ---------------------------------------------------------------- what the notebook shows

def test_the_headline_needs_no_rows(monkeypatch):
    monkeypatch.setenv("STUDY_PUBLISHED", "0")
    drawn = papers.drawn("22_instahide_theory")
    assert drawn.caption.endswith("Computed: no training is in it.") and "35" in drawn.finding


def test_log_lines():
    frame = guarantees.lines(guarantees.figure_4a([16]))
    figure = figures.log_lines(
        [{"frame": frame, "title": "x"}], x="k", y="epsilon", series="series", xlabel="k",
        ylabel="epsilon", reference=guarantees.PLAIN, beyond="worse")
    axes, = figure.axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines[guarantees.PLAIN].get_linewidth() == max(
        line.get_linewidth() for line in lines.values())
    assert lines[guarantees.PRINTED].get_ydata()[0] == pytest.approx(math.log10(256184.67))
    ticks = [text.get_text() for text in axes.get_yticklabels()]
    assert "10⁴" in ticks and "100" in ticks and "worse" in [text.get_text() for text in axes.texts]
