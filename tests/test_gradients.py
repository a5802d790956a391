"""Gradients of poison and clean records, against per-sample gradients of plain autograd."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib import models, study
from lib.attacks.feature_collision import FeatureCollision
from lib.defences.alibi import ALIBI
from lib.defences.dpsgd import DPSGD
from lib.defences.pate import PATE
from lib.study import Run, columns, measure, poison_gradients
from lib.training import Training, gradients
from lib.training.batches import as_input
from lib.training.gradients import Records, compare
from lib.training.modules import flatten, initialise

POINTS = Training(epochs=2.0, batch_size=50, every=0.5)
TINY = Run(train_size=300, test_size=100, model="linear", training=POINTS, anatomy=True)


class Odd(nn.Module):
    """A network without closed forms, with a frozen parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(36, 8), nn.LayerNorm(8)
        self.last = nn.Linear(8, 3, bias=False)
        self.norm.bias.requires_grad_(False)

    def forward(self, x):
        return self.last(self.norm(self.first(x.flatten(1))))


NETWORKS = {
    "linear": lambda: models.linear((1, 6, 6), 3),
    "mlp": lambda: models.mlp((1, 6, 6), 3),
    "convolution": lambda: nn.Sequential(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU(),
                                         nn.Conv2d(4, 5, 2), nn.Flatten(), nn.Linear(20, 3)),
    "no closed form": Odd,
}


def records(name, n=40):
    random = torch.Generator().manual_seed(0)
    pool = torch.randint(256, (n, 1, 6, 6), generator=random).to(torch.uint8)
    labels, rows = torch.randint(3, (n,), generator=random), torch.randperm(n, generator=random)
    poison = torch.rand(n, generator=random) < 0.3
    module = initialise(NETWORKS[name], 1)
    return module, pool, rows, labels, poison


def single_gradients(module, pool, rows, labels):
    """The slow oracle: one backward pass a record; [records, parameters], and the kernel alone."""
    trained = [value for value in module.parameters() if value.requires_grad]
    found, kernels = [], []
    for row, label in zip(rows, labels):
        loss = F.cross_entropy(module(as_input(pool[row][None])), label[None])
        own = torch.autograd.grad(loss, trained)
        found.append(torch.cat([part.flatten() for part in own]).double())
        kernels.append([part for part in own if part.dim() > 1][-1].flatten().double())
    return torch.stack(found), torch.stack(kernels)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("chunk", [7, 1000])
def test_every_measure_is_that_of_single_gradients(name, chunk):
    module, pool, rows, labels, poison = records(name)
    every, kernel = single_gradients(module, pool, rows, labels)
    norms, bound = every.norm(dim=1), every.norm(dim=1).quantile(0.47).item()
    made = Records(module, flatten(module), pool, rows, labels)
    made.chunk = chunk
    found = compare(made, poison, bound=bound)

    clipped = every * (bound / norms).clamp(max=1)[:, None]
    parts, cut = ([kind[poison].sum(0), kind[~poison].sum(0)] for kind in (every, clipped))
    means = kernel[poison].mean(0), kernel[~poison].mean(0)
    both = every[poison].mean(0), every[~poison].mean(0)
    expected = {
        "poison_records": poison.sum(), "clean_records": (~poison).sum(),
        "ratio": means[0].norm() / means[1].norm(), "cosine": F.cosine_similarity(*means, dim=0),
        "ratio_all": both[0].norm() / both[1].norm(),
        "cosine_all": F.cosine_similarity(*both, dim=0),
        "poison_mean": means[0].norm(), "clean_mean": means[1].norm(),
        "share": parts[0].norm() / (parts[0].norm() + parts[1].norm()),
        "share_clipped": cut[0].norm() / (cut[0].norm() + cut[1].norm()),
        "opposition": -(parts[0] @ parts[1]) / (parts[1] @ parts[1]),
        "opposition_clipped": -(cut[0] @ cut[1]) / (cut[1] @ cut[1]),
        "poison_clipped": (norms[poison] > bound).double().mean(),
        "clean_clipped": (norms[~poison] > bound).double().mean()}
    cosines = F.cosine_similarity(every, both[1][None], dim=1)
    for kind, chosen in (("poison", poison), ("clean", ~poison)):
        for at in (5, 25, 50, 75, 95):
            expected[f"{kind}_norm_{at}"] = norms[chosen].quantile(at / 100)
            expected[f"{kind}_cosine_{at}"] = cosines[chosen].quantile(at / 100)
    assert set(found) == set(columns.ANATOMY) == set(expected)
    for name_, value in expected.items():
        assert found[name_] == pytest.approx(float(value), rel=2e-4, abs=2e-5), name_


def test_what_cannot_be_measured_is_none():
    module, pool, rows, labels, poison = records("linear")
    made = Records(module, flatten(module), pool, rows, labels)
    unclipped = compare(made, poison)
    assert {name for name, value in unclipped.items() if value is None} == {
        "share_clipped", "opposition_clipped", "poison_clipped", "clean_clipped"}
    clean = compare(made, torch.zeros_like(poison), bound=1.0)
    there = {name for name, value in clean.items() if value is not None}
    assert there == {name for name in columns.ANATOMY if name.startswith("clean_")} | {
        "poison_records"}
    broken = compare(Records(module, flatten(module) * math.nan, pool, rows, labels), poison,
                     bound=1.0)
    assert {name for name, value in broken.items() if value} == {"poison_records", "clean_records"}


def test_poison_that_mirrors_the_clean_records_cancels_them():
    _, pool, rows, labels, _ = records("linear")
    two = Records(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), torch.zeros(74), pool,
                  torch.cat([rows, rows]), torch.cat([labels * 0, labels * 0 + 1]))
    found = compare(two, torch.arange(80) < 40, bound=0.5)
    for name, value in (("ratio", 1), ("cosine", -1), ("share", 0.5), ("opposition", 1),
                        ("share_clipped", 0.5), ("opposition_clipped", 1)):
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_cosines_of_a_spaced_sample(monkeypatch):
    module, pool, rows, labels, poison = records("mlp")
    every, _ = single_gradients(module, pool, rows, labels)
    monkeypatch.setattr(gradients, "MAX_COSINES", 10)
    found = compare(Records(module, flatten(module), pool, rows, labels), poison)
    clean = (~poison).nonzero().flatten()
    chosen = clean[[place * len(clean) // 10 for place in range(10)]]
    cosines = F.cosine_similarity(every[chosen], every[~poison].mean(0)[None], dim=1)
    assert found["clean_cosine_50"] == pytest.approx(cosines.quantile(0.5).item(), abs=1e-5)


def test_batch_normalisation_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))
    with pytest.raises(ValueError, match="the model has batch normalisation"):
        Records(module, flatten(module), torch.zeros(4, 1, 6, 6), torch.arange(4),
                torch.zeros(4, dtype=torch.long))


# ---- runs

def test_a_run_keeps_its_anatomy_at_every_point_of_its_path(store):
    clipped = TINY.with_(defence=DPSGD(0.0, max_grad_norm=0.5))
    frame = study.run([TINY, clipped, TINY.with_(anatomy=False), TINY.in_world("C")])
    assert (frame["status"] == "ok").all()
    points = study.anatomy(frame)
    assert len(points) == 3 * 4 and set(points["epoch"]) == {0.5, 1.0, 1.5, 2.0}
    own = points[points["key"] == clipped.key]
    assert own[list(columns.ANATOMY)].notna().all(axis=None)
    assert points[points["key"] == TINY.key]["share_clipped"].isna().all()
    clean = points[points["world"] == "C"]
    assert clean["ratio"].isna().all() and clean["clean_norm_50"].notna().all()
    epochs = study.anatomy(frame, by_epoch=True)
    assert len(epochs) == 3 * 2 and set(epochs["epoch"]) == {1, 2}
    first = epochs[(epochs["key"] == clipped.key) & (epochs["epoch"] == 1)]["ratio"].item()
    assert first == pytest.approx(own["ratio"][:2].mean())


def test_further_checkpoints_do_not_weigh_in_an_epoch(store):
    more = TINY.with_(training__checkpoints=6)
    frame = study.run([TINY, more])
    assert len(study.anatomy(frame)) > 2 * 4
    epochs = study.anatomy(frame, by_epoch=True)
    assert epochs.groupby("key", sort=False)["epoch"].apply(list).tolist() == [[1, 2], [1, 2]]
    plain, dense = (epochs.loc[epochs["key"].eq(run.key), "ratio"].to_numpy()
                    for run in (TINY, more))
    assert plain == pytest.approx(dense)


def test_the_anatomy_changes_nothing_else_in_a_row(store):
    plain, kept = measure.train_rows([TINY.with_(anatomy=False), TINY])
    assert plain["metrics"] == kept["metrics"] and plain["key"] != kept["key"]
    assert [{name: value for name, value in point.items() if name not in columns.ANATOMY}
            for point in kept["curve"]] == plain["curve"]
    assert measure.identity(TINY) == measure.identity(TINY.with_(anatomy=False))
    assert kept["provenance"]["group_size"] == 1


def test_the_last_point_is_that_of_the_trained_model(store):
    model, data = study.fit(TINY)
    last = list(poison_gradients.along(TINY, model, data))[-1]
    module = models.build("linear", (1, 28, 28), 10)
    nn.utils.vector_to_parameters(model.weights, module.parameters())
    every, kernel = single_gradients(module, torch.cat([data.clean, data.stamped]), data.rows,
                                     data.labels)
    ratio = kernel[data.mask].mean(0).norm() / kernel[~data.mask].mean(0).norm()
    assert last["ratio"] == pytest.approx(ratio.item(), rel=1e-4)
    assert last["poison_norm_95"] == pytest.approx(
        every[data.mask].norm(dim=1).quantile(0.95).item(), rel=1e-4)


def test_the_first_try_of_a_search_has_an_anatomy(store):
    attack = FeatureCollision(candidates=2, counts=(1, 2), pool=10, reach=1000.0, iterations=5)
    clean = TINY.with_(attack=attack.world("C"), anatomy=False)
    one = TINY.with_(attack=attack, start=clean)
    frame = study.run([one])
    assert frame["status"].tolist() == ["ok"] and len(study.tries(frame)) > 0
    points = study.anatomy(frame)
    assert points["poison_records"].tolist() == [1] * 4 and points["ratio"].notna().all()


@pytest.mark.parametrize(("run", "says"), [
    (TINY.with_(defence=PATE(5), public=50), "run anatomy with defence pate: it trains several"),
    (TINY.with_(defence=ALIBI(1.0)), "on other labels than the attack's"),
    (TINY.with_(training=replace(POINTS, every=0.0)), "run anatomy without points: training every"),
])
def test_an_anatomy_that_cannot_be_had_is_refused(run, says):
    with pytest.raises(ValueError, match=says):
        measure.poisoned(run)
