"""PATE: what one record can change, how votes become labels, what is kept and what is refused."""

import math
from dataclasses import replace

import pytest
import torch

from lib import privacy
from lib.attacks.badnets import BadNets
from lib.defences import teachers
from lib.defences.pate import PATE, Answered
from lib.study import Run, fit, measure
from lib.training import Training

TEACHER = Training("sgd", 0.1, epochs=4.0, batch_size=16, sampling="shuffle")
STUDENT = Training("adam", 0.003, momentum=0.0, epochs=5.0, batch_size=32, sampling="shuffle")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def one(defence=None, **changes):
    defence = defence or PATE(10, teacher=TEACHER)
    return Run(train_size=900, test_size=300, public=300, model="mlp", attack=BadNets(fraction=0.5),
               training=STUDENT, defence=defence).with_(**changes)


def answers(run, data=None):
    data = data or measure.poisoned(run)
    return teachers.ask(run, data, teachers=run.defence.teachers, training=run.defence.teacher,
                        version=1)


def test_replacing_one_record_changes_one_teacher():
    """What the accounting rests on: a vote vector moves by one vote."""
    run = one()
    data = measure.poisoned(run)
    labels = data.labels.clone()
    labels[130] = (labels[130] + 1) % 10
    changed = (answers(run, data).clean != answers(run, replace(data, labels=labels)).clean).any(1)
    # 600 records, 10 teachers: record 130 is the third one's
    assert changed.nonzero().flatten().tolist() == [2]


def test_teachers_differ_and_are_trained_once(monkeypatch):
    first = answers(one())
    assert len(first.clean.unique(dim=0)) == 10 and first.clean.shape == (10, 300)
    monkeypatch.setattr(teachers, "_train", lambda *_: pytest.fail("the answers were kept"))
    assert torch.equal(
        answers(one(PATE(10, threshold=4.0, selection_noise=2.0, result_noise=3.0,
                         teacher=TEACHER))).clean, first.clean)
    for change in (dict(init_seed=1), dict(attack__fraction=0.3),
                   dict(defence=PATE(11, teacher=TEACHER))):
        with pytest.raises(pytest.fail.Exception):
            answers(one(**change))


def test_teachers_of_unequal_blocks_cover_every_record():
    run = one(PATE(7, teacher=TEACHER))
    data = measure.poisoned(run)
    blocks = torch.arange(600).tensor_split(7)
    members = [
        teachers._teacher(run, data, block, number, TEACHER) for number, block in enumerate(blocks)
    ]
    assert torch.equal(torch.cat([member.rows for member in members]), data.rows)
    assert {len(member.rows)
            for member in members} == {85, 86} and len({member.init_seed
                                                        for member in members}) == 7
    assert members[0].steps == 4 * math.ceil(86 / 16)


def test_the_answer_is_the_largest_noisy_count():
    counts = torch.tensor([[5, 5, 0], [1, 0, 9], [4, 3, 3]])
    answered, labels = PATE(10).aggregate(counts, seed=0)
    # without noise; a tie goes to the lower class
    assert answered.all() and labels.tolist() == [0, 2, 0]
    answered, _ = PATE(10, threshold=5.0).aggregate(counts, seed=0)
    assert answered.tolist() == [True, True, False]
    many = counts[2:].expand(20000, 3)
    _, labels = PATE(10, result_noise=5.0).aggregate(many, seed=0)
    noise = torch.randn(20000, 3, generator=torch.Generator().manual_seed(9)) * 5
    expected = torch.bincount((many + noise).argmax(1), minlength=3) / 20000
    assert torch.bincount(labels, minlength=3) / 20000 == pytest.approx(expected.numpy(), abs=0.015)


@pytest.mark.parametrize("as_released", [False, True])
def test_how_often_a_query_is_answered(as_released):
    counts = torch.full((20000, 10), 20)
    answered, _ = PATE(200, threshold=150.0, selection_noise=120.0, result_noise=1.0,
                       as_released=as_released).aggregate(counts, seed=0)
    expected = privacy.answer_probability(counts[:1].numpy(), 150.0, 120.0,
                                          as_released=as_released)[0]
    assert answered.double().mean().item() == pytest.approx(expected, abs=0.01)
    assert expected == pytest.approx(0.78 if as_released else 0.14, abs=0.01)


def test_whether_a_query_is_answered_says_nothing_of_the_noise_in_its_answer():
    """Both steps draw anew: each is accounted as a mechanism of its own."""
    counts = torch.full((20000, 2), 10)
    answered, labels = PATE(20, threshold=10.0, selection_noise=4.0, result_noise=4.0).aggregate(
        counts, seed=0)
    first = (labels == 0).double()
    assert [first[answered].mean().item(),
            first[~answered].mean().item()] == pytest.approx([0.5, 0.5], abs=0.02)


def test_the_promise_takes_every_query_as_answered_and_looks_at_no_vote():
    sure, split = (torch.tensor([counts] * 50) for counts in ([10, 0, 0], [4, 3, 3]))
    defence = PATE(10, threshold=6.0, selection_noise=30.0, result_noise=40.0)
    every = privacy.pate_epsilon(sure.numpy(), threshold=6.0, selection_noise=30.0,
                                 result_noise=40.0, delta=1e-5)
    for votes in (sure, split + torch.tensor([2, -1, -1])):
        asked = Answered(torch.arange(50), votes,
                         torch.arange(50) < 20, votes.argmax(1), True, False)
        assert defence.guarantee(asked).epsilon == every and defence.costs(
            asked)["epsilon_answered"] < every


def test_epsilon_takes_every_query_as_answered():
    settings = dict(threshold=6.0, selection_noise=30.0, result_noise=40.0, teacher=TEACHER)
    trained, _ = fit(one(PATE(10, **settings)))
    votes = torch.zeros(300, 10, dtype=torch.int64)
    votes[:, 0] = 10
    expected = privacy.pate_epsilon(votes.numpy(), threshold=6.0, selection_noise=30.0,
                                    result_noise=40.0, delta=1e-5)
    assert trained.privacy.epsilon == pytest.approx(
        expected) and trained.privacy.adjacency == "replace-one"
    assert trained.facts["epsilon_answered"] < expected
    released, _ = fit(one(PATE(10, as_released=True, **settings)))
    assert released.privacy.epsilon == pytest.approx(
        privacy.pate_epsilon(votes.numpy(), threshold=6.0, selection_noise=30.0 / math.sqrt(2),
                             result_noise=40.0, delta=1e-5))
    for silent in (PATE(
            10, teacher=TEACHER), PATE(10, threshold=6.0, result_noise=40.0,
                                       teacher=TEACHER), PATE(10, labels="truth", **settings)):
        assert not fit(one(silent))[0].privacy.holds


def test_students_learn_what_the_votes_say():
    votes, data = fit(one())
    assert tuple(votes.facts) == PATE.FACTS
    truth, _ = fit(one(PATE(10, labels="truth", teacher=TEACHER)))
    clean, _ = fit(one(PATE(10, pool="clean", teacher=TEACHER)))
    assert votes.facts["triggered"] == truth.facts["triggered"] == data.public.mask.sum().item() > 5
    assert clean.facts["triggered"] == 0 and clean.facts["target_answered"] is None
    # the teachers call stamped queries the target, and only a student who sees such queries learns
    # to
    assert votes.facts["target_answered"] > 0.6 and votes.facts["student_target_answered"] > 0.6
    assert truth.facts["student_target_answered"] < 0.3
    alone, _ = fit(one(PATE(10, voters=1, teacher=TEACHER)))
    assert alone.facts["certified_1"] == 0.0 and alone.facts["answered"] == 300


def test_queries_are_a_subset_and_answers_belong_to_them():
    run = one(PATE(10, queries=40, threshold=6.0, teacher=TEACHER), noise_seed=3)
    data = measure.poisoned(run)
    asked = run.defence.ask(run, data)
    assert len(asked.queries) == 40 == len(set(asked.queries.tolist())) and isinstance(
        asked, Answered)
    everything = one(PATE(10, teacher=TEACHER)).defence.ask(run, data)
    assert torch.equal(asked.votes, everything.votes[asked.queries]) and (asked.votes.sum(1)
                                                                          == 10).all()
    assert torch.equal(asked.labels(data.public), asked.votes.argmax(1)[asked.answered])
    stamped = (data.public.rows >= len(data.public.clean))[asked.queries]
    assert asked.facts(
        data.public, 1,
        lambda inputs: torch.zeros(len(inputs), 10))["triggered"] == stamped.sum().item()
    other = run.with_(noise_seed=4).defence.ask(run.with_(noise_seed=4), data)
    assert other.queries.tolist() != asked.queries.tolist()


def test_no_query_answered_is_a_result():
    runs = [
        one(
            PATE(10, threshold=10.0, selection_noise=0.0, queries=5, teacher=replace(
                TEACHER, lr=1e-6))),
        one(PATE(10, queries=5, teacher=replace(TEACHER, lr=1e-6)))
    ]
    rows = measure.train_rows(runs)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert rows[0]["facts"]["answered"] == 0 and rows[0]["facts"]["label_accuracy"] is None
    assert rows[0]["metrics"]["accuracy"] < 0.4 and rows[1]["facts"]["answered"] == 5


@pytest.mark.parametrize(
    "wrong,match", [(dict(teachers=0), "teachers 0"),
                    (dict(threshold=11.0), "threshold 11.0: expected between 0 and the 10 votes"),
                    (dict(voters=20), "voters 20"), (dict(threshold=3.0, voters=2), "the 2 votes"),
                    (dict(result_noise=-1.0), "result_noise -1.0"),
                    (dict(result_noise=math.nan), "result_noise nan"),
                    (dict(selection_noise=-1.0, threshold=5.0), "selection_noise -1.0"),
                    (dict(selection_noise=1.0), "there is no selection"),
                    (dict(queries=0), "queries 0"), (dict(pool="mine"), "pool 'mine'"),
                    (dict(labels="mine"), "labels 'mine'"), (dict(delta=0.0), "delta 0.0")])
def test_bad_settings_are_named(wrong, match):
    with pytest.raises(ValueError, match=match):
        PATE(**{"teachers": 10, **wrong})


@pytest.mark.parametrize(
    "changes,match",
    [(dict(defence=PATE(700, teacher=TEACHER)), "at most the 600 private images"),
     (dict(defence=PATE(10, queries=400, teacher=TEACHER)), "at most the 300 public"),
     (dict(public=0), "public 0"), (dict(training__checkpoints=3), "checkpoints 3")])
def test_what_the_data_cannot_give_is_a_failed_row_that_says_so(changes, match):
    row = measure.train_rows([one(**changes)])[0]
    assert row["status"] == "failed" and match in row["error"]


def test_settings_from_yaml():
    from lib.study import from_dict
    run = from_dict({
        "public": 10,
        "defence": {"name": "pate", "teachers": 10, "teacher": {"optimizer": "sgd", "lr": 1}}
    })
    assert run.defence.teacher == Training("sgd", 1.0) and from_dict(run.to_dict()).key == run.key
    with pytest.raises(ValueError, match="unknown key 'rate'"):
        from_dict({"defence": {"name": "pate", "teacher": {"rate": 1}}})
