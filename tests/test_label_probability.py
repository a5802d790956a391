"""The filter by a small trusted set: its ranking against loops, its facts, rows and refusals."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from lib import models, study, training
from lib.attacks import clean
from lib.attacks.badnets import BadNets
from lib.defences import label_probability
from lib.defences.dpsgd import DPSGD
from lib.defences.label_probability import LabelProbability
from lib.study import Run, measure, ranked
from lib.training import Training
from lib.training.transforms.public_mixup import PublicMixup

RUN = Run(train_size=700, public=200, test_size=200, model="mlp",
          attack=BadNets(None, 1, poisons=10), defence=LabelProbability(0.04),
          training=Training(epochs=2.0, batch_size=50))


def trained(run):
    data = measure.poisoned(run)
    return measure.trained([run], [data])[0], data


def hand_made(n=60, poisons=9):
    """A training set of three classes with some poisons, and made-up log probabilities."""
    labels = torch.arange(n) % 3
    mask = torch.zeros(n, dtype=torch.bool)
    mask[torch.randperm(n, generator=torch.Generator().manual_seed(0))[:poisons]] = True
    logs = -torch.rand(n, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 30
    logs[::7] = logs[0]  # ties
    return replace(clean(torch.zeros(n, 2), labels, 3), mask=mask), logs


# ---- the ranking

def test_the_least_likely_labels_go():
    data, logs = hand_made()
    for defence, count in ((LabelProbability(0.2), 12), (LabelProbability(inspected=5), 5)):
        expected = sorted(range(60), key=lambda record: (logs[record].item(), record))[:count]
        found = defence.least_likely(data, logs)
        assert sorted(found.nonzero().flatten().tolist()) == sorted(expected)
    assert not LabelProbability(inspected=0).least_likely(data, logs).any()


def test_probabilities_are_those_of_a_network_of_the_public_images_alone():
    """The detector is the usual training on the public images, and sees no private one."""
    found, data = trained(RUN)
    images, labels = data.trusted
    whole = study.inputs.public_images(RUN)
    assert torch.equal(images, whole.images) and torch.equal(labels, whole.labels)
    seed = label_probability.detector_seed(0)
    own = training.Member(torch.arange(200), labels, 64, 0.05, init_seed=seed, batch_seed=seed)
    group = training.fit(lambda: models.build("mlp", (1, 28, 28), 10), images, [own],
                         label_probability.DETECTOR.plan(200, "float32"))
    chances = group.predict(data.images(), model=0).double().softmax(1)
    of_labels = [math.log10(row[label]) for row, label in zip(chances.tolist(), data.labels)]
    order = sorted(range(500), key=of_labels.__getitem__)
    least = found.ranked["least"]
    assert [line["record"] for line in least] == order[:20]
    assert [line["log10"] for line in least] == pytest.approx(
        [of_labels[record] for record in order[:20]], abs=1e-3)
    assert [line["poison"] for line in least] == data.mask[order[:20]].tolist()
    assert found.facts["found"] == int(data.mask[order[:20]].sum()) == 10  # 20 of 500 inspected


def test_the_victim_trains_as_if_the_least_likely_were_not_there():
    from lib.defences import filtering

    found, data = trained(RUN)
    dropped = torch.zeros(500, dtype=torch.bool)
    dropped[[line["record"] for line in found.ranked["least"]]] = True
    left = filtering.without(data, dropped)
    own = training.Member(left.rows, left.labels, 50, 0.1)
    again = training.fit(lambda: models.build("mlp", (1, 28, 28), 10),
                         torch.cat([left.clean, left.stamped]), [own],
                         RUN.training.plan(480, "float32"))
    torch.testing.assert_close(found.weights, again.parameters[0], rtol=0, atol=0)
    assert not found.privacy.holds


def test_without_inspection_the_model_is_the_undefended_one():
    nothing, _ = trained(RUN.with_(defence=LabelProbability(inspected=0)))
    plain, _ = trained(RUN.with_(defence=DPSGD(0.0, clip=False)))
    assert torch.equal(nothing.weights, plain.weights) and nothing.facts["removed"] == 0
    assert nothing.facts["enrichment"] is None and nothing.facts["auc"] > 0.9


def test_the_mask_only_measures():
    data = measure.poisoned(RUN)
    blind = replace(data, mask=torch.zeros_like(data.mask))
    seeing, blindly = (measure.trained([RUN], [given])[0] for given in (data, blind))
    assert torch.equal(seeing.weights, blindly.weights)
    assert blindly.facts["enrichment"] is None and blindly.facts["auc"] is None
    assert [line["record"] for line in seeing.ranked["least"]] == [
        line["record"] for line in blindly.ranked["least"]]


def test_runs_of_a_group_are_as_alone():
    faster = replace(label_probability.DETECTOR, lr=0.1)
    defences = LabelProbability(0.04), LabelProbability(inspected=3), LabelProbability(
        training=faster)
    runs = [RUN.with_(defence=one, attack_seed=seed, init_seed=seed, noise_seed=seed)
            for seed, one in enumerate(defences)]
    assert len({one.defence.group(one) for one in runs}) == 1
    sets = [measure.poisoned(run) for run in runs]
    for run, data, found in zip(runs, sets, measure.trained(runs, sets), strict=True):
        alone = measure.trained([run], [data])[0]
        assert alone.facts == pytest.approx(found.facts)
        torch.testing.assert_close(alone.weights, found.weights, rtol=0, atol=1e-4)
    other = RUN.with_(defence=LabelProbability(model="linear"))
    assert other.defence.group(other) != RUN.defence.group(RUN) and other.key != RUN.key
    assert other.with_(model="cnn").defence.group(other) == other.defence.group(other)


# ---- facts and rows

def test_facts_are_counts():
    data, logs = hand_made()
    drop = LabelProbability(0.2).least_likely(data, logs)
    right = torch.arange(60) % 2 == 0
    found = label_probability.facts(data, drop, right, logs)
    hits = sum(bool(drop[i] and data.mask[i]) for i in range(60))
    assert found["records"] == 60 and found["found"] == hits
    assert found["expected"] == pytest.approx(12 * 9 / 60)
    assert found["enrichment"] == pytest.approx(hits / (12 * 9 / 60))
    pairs = [(logs[p] < logs[o]) + 0.5 * (logs[p] == logs[o])
             for p in range(60) if data.mask[p] for o in range(60) if not data.mask[o]]
    assert found["auc"] == pytest.approx(float(sum(pairs)) / len(pairs))
    others = [i for i in range(60) if not data.mask[i]]
    assert found["detector_accuracy"] == pytest.approx(sum(i % 2 == 0 for i in others) / 51)


def test_the_histogram_counts_every_record_once():
    data, logs = hand_made()
    logs[:2] = torch.tensor([-1000.0, 0.0])
    kept = label_probability.ranked(data, logs)
    assert len(kept["low"]) == 32 and kept["low"][0] == -8 and kept["low"][-1] == -0.25
    edges = [-math.inf, *kept["low"][1:], math.inf]
    for kind, mask in (("poison", data.mask), ("other", ~data.mask)):
        tens = [value.item() / math.log(10) for value in logs[mask]]
        expected = [sum(low <= ten < high for ten in tens)
                    for low, high in pairwise(edges)]
        assert kept[kind] == expected and sum(kept[kind]) == int(mask.sum())


def test_rows_keep_the_ranking_and_chance(store):
    frame = study.run([*study.worlds(RUN, "PC"), RUN.with_(defence=DPSGD(0.0, clip=False))])
    assert frame["status"].eq("ok").all() and frame["epsilon"].eq(math.inf).all()
    attacked, twin = frame.iloc[0], frame.iloc[1]
    assert attacked["facts.enrichment"] == pytest.approx(10 / (20 * 10 / 500))
    assert math.isnan(twin["facts.enrichment"]) and twin["facts.expected"] == 0
    bars, least = ranked.histogram(frame), ranked.least(frame)
    assert len(bars) == 2 * 2 * 32 and len(least) == 2 * 20
    own = bars[bars["key"].eq(attacked["key"])].groupby("records are")
    assert own["count"].sum().to_dict() == {"poisons": 10, "the rest": 490}
    assert own["share"].sum().tolist() == pytest.approx([1, 1])
    assert bars[bars["world"].eq("C") & bars["records are"].eq("poisons")]["share"].isna().all()
    assert list(least["rank"]) == [*range(1, 21)] * 2 and not least.iloc[20:]["poison"].any()
    assert ranked.histogram(frame.iloc[:0]).empty and ranked.least(frame.iloc[2:]).empty


def test_features_are_ranked_too(store):
    run = RUN.with_(features="patches:8", model="head")
    frame = study.run([run])
    assert frame["status"][0] == "ok" and frame["facts.found"][0] >= 0


# ---- refusals

@pytest.mark.parametrize("changes,match", [
    (dict(share=0.0), "share 0.0: expected above 0 and at most 1"),
    (dict(share=1.5), "share 1.5"),
    (dict(inspected=-1), "inspected -1: expected 0 or more, or null"),
    (dict(training=Training(transforms=(PublicMixup(),))),
     "transform public_mixup in training: expected one that mixes no further public images")])
def test_settings_out_of_range_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        LabelProbability(**changes)


@pytest.mark.parametrize("run,match", [
    (RUN.with_(public=0), "defence label_probability: public 0: expected 1 or more; it trusts"),
    (RUN.with_(defence=LabelProbability(0.0001)), "0 of 500 records: expected 1 to 500"),
    (RUN.with_(defence=LabelProbability(inspected=501)), "501 of 500 records"),
    (RUN.with_(defence=LabelProbability(1.0)), "label_probability: it would drop all")])
def test_what_cannot_be_ranked_is_one_clear_line(run, match):
    with pytest.raises(ValueError, match=match) as problem:
        trained(run)
    assert "\n" not in str(problem.value)


def test_a_detector_that_diverged_is_refused():
    with pytest.raises(ValueError, match="outputs are not finite: expected a training that conv"):
        label_probability._answers(torch.full((3, 2), math.nan), torch.zeros(3, dtype=torch.long))
