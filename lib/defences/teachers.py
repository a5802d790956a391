"""Teachers of PATE: one model a block of the private records, and what each of them answers to the public ones.

Answers are kept: thresholds, noises, numbers of queries and of voters are swept without training a teacher again.
"""

import hashlib
import json
import weakref
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lib import models, paths
from lib.attacks import Poisoned
from lib.data import cache
from lib.training import Ensemble, Member, Training, fit, generator, products


@dataclass(frozen=True)
class Answers:
    """The class that each teacher gives to each public record.

    clean: uint8 [teachers, n], to the untouched public records. stamped: uint8 [teachers, stamped], to those that the
    attack put in the place of some.
    """

    clean: Tensor
    stamped: Tensor

    def to_queries(self, public: Poisoned, *, stamped: bool, voters: int | None = None) -> Tensor:
        """Classes [voters, n] for the queries of a pool: the attacked one, or the untouched one."""
        answers = self.clean.clone()
        if stamped:
            changed = public.rows >= len(public.clean)
            answers[:, changed.cpu()] = self.stamped[:, (public.rows[changed] - len(public.clean)).cpu()]
        return answers[:voters]


def votes(answers: Tensor, classes: int) -> Tensor:
    """Counts int64 [n, classes] of classes [voters, n]."""
    return F.one_hot(answers.long(), classes).sum(0)


def ask(run, private: Poisoned, *, teachers: int, training: Training) -> Answers:
    """The answers of `teachers` models, each trained on a contiguous block of the private records; from the cache if kept.

    Blocks are cut by place, so that replacing a record changes one teacher. Raises ValueError for more teachers than records.
    """
    n, public = len(private.rows), private.public
    if teachers > n:
        raise ValueError(f"defence pate: teachers {teachers}: expected at most the {n} private images, one each")

    def make() -> dict[str, Tensor]:
        trained = _train(run, private, teachers, training)
        with products(run.precision):
            return {"clean": _classes(trained, public.clean, teachers), "stamped": _classes(trained, public.stamped, teachers)}
    kept = cache.keep(paths.artefact_dir() / "votes" / f"{_key(run, private, teachers, training)}.safetensors", make)
    return Answers(kept["clean"], kept["stamped"])


def _train(run, private: Poisoned, teachers: int, training: Training) -> Ensemble:
    pool = torch.cat([private.clean, private.stamped]) if len(private.stamped) else private.clean
    blocks = torch.arange(len(private.rows)).tensor_split(teachers)
    members = [_teacher(run, private, block, number, training) for number, block in enumerate(blocks)]
    schedule = training.plan(len(blocks[0]), run.precision)
    return fit(lambda: models.build(run.model, tuple(pool.shape[1:]), private.classes), pool, members, schedule)


def _teacher(run, private: Poisoned, block: Tensor, number: int, training: Training) -> Member:
    # Teachers differ in initial weights and order of batches too, as independent trainings would.
    seed = generator(f"teacher {number}", run.init_seed).initial_seed() % 2**31
    block = block.to(private.rows.device)
    return Member(private.rows[block], private.labels[block], min(training.batch_size, len(block)),
                  training.lr, init_seed=seed, batch_seed=seed, steps=training.steps(len(block)))


def _classes(trained: Ensemble, inputs: Tensor, teachers: int) -> Tensor:
    if not len(inputs):
        return torch.zeros(teachers, 0, dtype=torch.uint8)
    return torch.stack([trained.predict(inputs, model=model).argmax(1).to(torch.uint8) for model in range(teachers)])


def _key(run, private: Poisoned, teachers: int, training: Training) -> str:
    """What the answers depend on: the records themselves, how teachers are made, and the versions of both.

    The defence's version is one of them, so that a change of this file raises `pate.VERSION`, and rows notice it too.
    """
    from lib.study.runs import versions
    settings = {"model": run.model, "precision": run.precision, "init_seed": run.init_seed, "teachers": teachers,
                "training": training.to_dict(), "versions": versions(run), "device": private.clean.device.type}
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for part in (private, private.public):
        for tensor in (part.rows, part.labels, part.stamped):
            found.update(tensor.cpu().contiguous().numpy().tobytes())
    for part in (private, private.public):
        found.update(_sum_of(part.clean))
    return found.hexdigest()[:40]


_sums: dict[int, tuple] = {}


def _sum_of(shared: Tensor) -> bytes:
    """SHA-256 of a shared tensor, computed once while it lives (40,000 features take a third of a second)."""
    if id(shared) not in _sums or _sums[id(shared)][0]() is not shared:
        _sums[id(shared)] = weakref.ref(shared), hashlib.sha256(shared.cpu().contiguous().numpy().tobytes()).digest()
    return _sums[id(shared)][1]
