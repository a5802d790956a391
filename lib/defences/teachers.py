"""The teachers of PATE: one model per block of the private records, and their answers to the public
records.

Answers are cached, so that sweeps over thresholds, noises and numbers of queries or voters train
the teachers once.
"""

import hashlib
import json
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lib import models, parts, paths
from lib import training as trainer
from lib.attacks import Poisoned
from lib.data import cache
from lib.training import Ensemble, Member, Training, fit, generator, products

if TYPE_CHECKING:
    from lib.study.runs import Run


@dataclass(frozen=True)
class Answers:
    """The class that each teacher predicts for each public record.

    clean: uint8 [teachers, n], for the untouched public records. stamped: uint8 [teachers,
    stamped], for the records that the attack made.
    """

    clean: Tensor
    stamped: Tensor

    def to_queries(self, public: Poisoned, *, stamped: bool, voters: int | None = None) -> Tensor:
        """Classes [voters, n] for the queries of the attacked pool, or of the untouched pool."""
        if not stamped:
            return self.clean[:voters]
        return torch.cat([self.clean, self.stamped], 1)[:voters, public.rows.cpu()]


def votes(answers: Tensor, classes: int) -> Tensor:
    """Vote counts int64 [n, classes] of answers [voters, n]."""
    return F.one_hot(answers.long(), classes).sum(0)


def ask(run: "Run", private: Poisoned, *, teachers: int, training: Training, version: int
        ) -> Answers:
    """The answers of `teachers` models, each trained on a contiguous block of the private records.

    Read from the cache if possible. Blocks are cut by place, so that replacing a record changes one
    teacher. So does appending one: appended records are dealt to the teachers in turn. version: the
    defence's VERSION; raise it when this file changes, so that keys of rows change too. Raises
    ValueError for more teachers than records.
    """
    private.check_early()  # the key of the answers does not tell
    n, public = private.records("nominal"), private.given_public()
    if teachers > n:
        raise ValueError(
            f"defence pate: teachers {teachers}: expected at most the {n} private images, one each")

    def make() -> dict[str, Tensor]:
        trained = _train(run, private, teachers, training)
        with products(run.precision):
            return {"clean": _classes(trained, public.clean, teachers),
                    "stamped": _classes(trained, public.stamped, teachers)}

    name = f"{_key(run, private, teachers, training, version)}.safetensors"
    kept = cache.keep(paths.artefact_dir() / "votes" / name, make)
    return Answers(kept["clean"], kept["stamped"])


def _train(run: "Run", private: Poisoned, teachers: int, training: Training) -> Ensemble:
    pool = private.pool()
    blocks = _blocks(len(private.rows), private.records("nominal"), teachers)
    members = [_teacher(run, private, block, number, training)
               for number, block in enumerate(blocks)]
    schedule = training.plan(len(blocks[0]), run.precision)
    return fit(lambda: models.build(run.model, tuple(pool.shape[1:]), private.classes), pool,
               members, schedule)


def _blocks(rows: int, nominal: int, teachers: int) -> list[Tensor]:
    """The records of each teacher: a contiguous block of the nominal ones, then appended ones."""
    blocks = torch.arange(nominal).tensor_split(teachers)
    more = torch.arange(nominal, rows)
    return [torch.cat([block, more[number::teachers]]) for number, block in enumerate(blocks)]


def _teacher(run: "Run", private: Poisoned, block: Tensor, number: int, training: Training
             ) -> Member:
    # Teachers also differ in initial weights and batches, like independent trainings.
    seed = generator(f"teacher {number}", run.init_seed).initial_seed() % 2**31
    block = block.to(private.rows.device)
    return Member(private.rows[block], private.labels[block], min(training.batch_size, len(block)),
                  training.lr, init_seed=seed, batch_seed=seed, steps=training.steps(len(block)))


def _classes(trained: Ensemble, inputs: Tensor, teachers: int) -> Tensor:
    if not len(inputs):
        return torch.zeros(teachers, 0, dtype=torch.uint8)
    return torch.stack([trained.predict(inputs, model=model).argmax(1).to(torch.uint8)
                        for model in range(teachers)])


def _key(run: "Run", private: Poisoned, teachers: int, training: Training, version: int) -> str:
    """A hash of what the answers depend on: the records, the teachers' settings, the versions."""
    versions = {"defence": version, "training": trainer.VERSION,
                "model": models.version(run.model),
                "transforms": [parts.version(transform) for transform in training.transforms]}
    settings = {"model": run.model, "precision": run.precision, "init_seed": run.init_seed,
                "teachers": teachers, "training": parts.sparse(training), "versions": versions,
                "device": private.clean.device.type}
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    sets = private, private.given_public()
    for part in sets:
        for tensor in (part.rows, part.labels, part.stamped):
            found.update(tensor.cpu().contiguous().numpy().tobytes())
    for part in sets:
        found.update(_sum_of(part.clean))
    return found.hexdigest()[:40]


_sums: dict[int, tuple] = {}


def _sum_of(shared: Tensor) -> bytes:
    """SHA-256 of a shared tensor, computed once while it lives: 40,000 images' features take a
    third of a second."""
    if id(shared) not in _sums or _sums[id(shared)][0]() is not shared:
        _sums[id(shared)] = weakref.ref(shared), hashlib.sha256(
            shared.cpu().contiguous().numpy().tobytes()).digest()
    return _sums[id(shared)][1]
