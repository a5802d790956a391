"""From a group of runs to their rows: data, features, poison, training, measurement."""

import functools
import os
import platform
import subprocess
import time
import traceback
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib.metadata import version

import torch
from torch import Tensor

from lib import attacks, data, metrics, paths
from lib.defences import Trained
from lib.defences.certificates import Examples
from lib.study import traces
from lib.study.runs import Run, digest, part_name


@dataclass(frozen=True, eq=False)
class Part:
    """Images [n, channels, height, width], labels [n] and class names: what an attack is given."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def device() -> torch.device:
    """Where to train: $STUDY_DEVICE, or CUDA where there is one. ValueError names a device that is not there."""
    wanted = os.environ.get("STUDY_DEVICE", "auto")
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {wanted!r}: expected auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda': no CUDA device is visible; choose cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """The device to train on, as rows name it."""
    where = device()
    return torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU ({platform.machine()})"


@functools.lru_cache(maxsize=4)
def _dataset(name: str, train_size: int | None, test_size: int | None) -> data.Dataset:
    return data.load(name, train_size=train_size, test_size=test_size)


@functools.lru_cache(maxsize=4)
def parts(name: str, train_size: int | None, test_size: int | None, public: int, split: str) -> tuple[Part, Part]:
    """What the victim trains on and what it is measured on."""
    whole = _dataset(name, train_size, test_size)
    images, labels = whole.train_images[public:], whole.train_labels[public:]
    if len(labels) < 10:
        raise ValueError(f"public {public} of {len(whole.train_labels)} training images leaves {len(labels)} private ones: expected 10 or more")
    if split == "test":
        return Part(images, labels, whole.classes), Part(whole.test_images, whole.test_labels, whole.classes)
    kept = len(labels) - len(labels) // 10
    return Part(images[:kept], labels[:kept], whole.classes), Part(images[kept:], labels[kept:], whole.classes)


def run_parts(run: Run) -> tuple[Part, Part]:
    return parts(run.dataset, run.train_size, run.test_size, run.public, run.split)


def public_part(run: Run) -> Part:
    """The public images, the first of the training set."""
    whole = _dataset(run.dataset, run.train_size, run.test_size)
    return Part(whole.train_images[:run.public], whole.train_labels[:run.public], whole.classes)


def _features(run: Run) -> str:
    """What the run's inputs are: a defence may take images, and compute features by itself."""
    return "none" if getattr(run.defence, "on_pixels", False) else run.features


def _place(run: Run) -> tuple:
    return run.dataset, run.train_size, run.test_size, run.public, _features(run)


@functools.lru_cache(maxsize=4)
def _public_inputs(name, train_size, test_size, public, features, where: str) -> Tensor:
    """Inputs of the clean public images on the device, one copy for all runs."""
    images = _dataset(name, train_size, test_size).train_images[:public]
    return _inputs(images, name, train_size, test_size, public, features).to(where)


@functools.lru_cache(maxsize=4)
def _shared_inputs(name, train_size, test_size, public, split, features, where: str) -> tuple[Tensor, Tensor]:
    """Inputs of the clean training and measured images on the device, one copy for all runs."""
    train, test = parts(name, train_size, test_size, public, split)
    return tuple(_inputs(part.images, name, train_size, test_size, public, features).to(where) for part in (train, test))


def _inputs(images: Tensor, name, train_size, test_size, public, features: str) -> Tensor:
    """The images themselves, or their features."""
    if features == "none" or not len(images):
        return images
    from lib import features as extractors
    return extractors.extract(features, _dataset(name, None, None), images.to(device()), public=public)


def shared_inputs(run: Run) -> tuple[Tensor, Tensor]:
    return _shared_inputs(run.dataset, run.train_size, run.test_size, run.public, run.split, _features(run), str(device()))


def inputs(run: Run, images: Tensor) -> Tensor:
    """The run's inputs (pixels or features) for more images."""
    return _inputs(images, run.dataset, run.train_size, run.test_size, run.public, _features(run)).to(device())


def poisoned(run: Run) -> attacks.Poisoned:
    """The run's training set, its images replaced by features where it uses them, with what its defence asks for."""
    images = run.attack.poison(run_parts(run)[0], seed=run.attack_seed)
    more: dict = {"pixels": images} if getattr(run.defence, "needs_pixels", False) else {}
    if getattr(run.defence, "needs_public", False):
        more["public"] = _public(run)
    if _features(run) != run.features:
        more["encode"] = _encoder(run)
    return replace(_with_inputs(run, images, shared_inputs(run)[0]), **more)


def _encoder(run: Run):
    from lib import features as extractors
    return extractors.encoder(run.features, _dataset(run.dataset, None, None), public=run.public, device=device())


def _public(run: Run) -> attacks.Poisoned:
    """The public records as the same attack leaves them: the same trigger and share, rows drawn among them."""
    if not run.public:
        raise ValueError(f"defence {part_name(run.defence)}: public 0: expected some of the training images to be public")
    return _with_inputs(run, run.attack.poison(public_part(run), seed=run.attack_seed), _public_inputs(*_place(run), str(device())))


def _with_inputs(run: Run, images: attacks.Poisoned, clean: Tensor) -> attacks.Poisoned:
    """The attacked set on the device, its images replaced by features where the run uses them."""
    stamped = inputs(run, images.stamped) if len(images.stamped) else clean[:0]
    moved = {name: getattr(images, name).to(clean.device) for name in ("rows", "labels", "mask", "truth")}
    return replace(images, clean=clean, stamped=stamped, **moved)


@functools.lru_cache(maxsize=8)
def _triggered(run: Run, everyone: bool) -> Tensor:
    """Inputs of the stamped measured images of the attacked population (or of all), in the order of their labels."""
    images = run_parts(run)[1].images
    return inputs(run, run.attack.trigger(images if everyone else images[population(run)], seed=run.attack_seed))


def population(run: Run) -> Tensor:
    """Bool [n]: the measured images that are attacked."""
    labels = run_parts(run)[1].labels
    return labels == run.attack.base if run.attack.base is not None else labels != run.attack.target


def triggered(run: Run, *, everyone: bool = False) -> Tensor:
    # Runs that differ in training, world or fraction are stamped alike: one entry of the cache serves them all.
    alike = {"stamp": True, "relabel": True, "fraction": 1.0, "images": None}
    attack = replace(run.attack, **{name: value for name, value in alike.items() if hasattr(run.attack, name)})
    return _triggered(Run(dataset=run.dataset, train_size=run.train_size, test_size=run.test_size, public=run.public,
                          features=_features(run), split=run.split, attack=attack, attack_seed=run.attack_seed), everyone)


def measure(run: Run, trained: Trained, data: attacks.Poisoned) -> tuple[dict, list[dict], dict, list[dict]]:
    """Metrics of a trained model; of every point of its path with the losses on its training samples; facts; certified shares."""
    labels = run_parts(run)[1].labels
    test_inputs, stamped = shared_inputs(run)[1], triggered(run, everyone=trained.certify is not None)
    per_epoch = run.training.steps(len(run_parts(run)[0].labels)) / run.training.epochs

    def at(predict) -> dict:
        result = metrics.attack(predict(test_inputs), predict(stamped), labels, target=run.attack.target, base=run.attack.base)
        return result.as_dict()
    path = [{"step": step, "epoch": step / per_epoch, **at(predict), **traces.losses(predict, data, run.attack.base)}
            for step, predict in trained.path]
    metrics_ = at(trained.predict)
    if trained.certify is None:
        return metrics_, path, trained.facts, []
    facts, certified = trained.certify(Examples(test_inputs, stamped, labels, population(run), run.attack.target))
    return metrics_, path, trained.facts | facts, certified


def identity(run: Run) -> str:
    """Runs with an equal identity train the same model: clean twins of different attacks do."""
    values = run.to_dict()
    if attacks.untouched(run.attack):
        values["attack"], values["attack_seed"] = "clean", None
    return digest(values)


FAULTS = (data.DataNotFound, MemoryError, OSError, torch.OutOfMemoryError)  # of this machine, not of the run


def train_rows(runs: list[Run]) -> list[dict]:
    """Train runs of one group, each identity once, and return their rows.

    A run that cannot be trained becomes a row with its traceback, and the others of its group are trained without
    it. What is wrong with this machine (no data, no memory, a full disk) is raised: it says nothing about the run.
    """
    started, clock = datetime.now(timezone.utc), time.perf_counter()
    first = {identity(run): run for run in reversed(runs)}
    try:
        unique = list(first.values())
        sets = [poisoned(run) for run in unique]
        trained = dict(zip(first, zip(_train(unique, sets), sets)))
        results = [("ok", run, trained[identity(run)][0], measure(run, *trained[identity(run)])) for run in runs]
    except FAULTS:
        raise
    except Exception:  # recorded in full: one bad setting must not stop a sweep
        if len(first) > 1:
            return [row for one in first for row in train_rows([run for run in runs if identity(run) == one])]
        error = traceback.format_exc()
        results = [("failed", run, None, error) for run in runs]
    seconds = time.perf_counter() - clock
    facts = provenance() | {"started": started.isoformat(timespec="seconds"), "group_seconds": seconds, "group_size": len(first),
                            "seconds": seconds / len(first)}
    return [_row(*result, facts) for result in results]


def _train(runs: list[Run], sets: list[attacks.Poisoned]) -> list[Trained]:
    """What the defence of these runs makes of them, one for each."""
    defence = runs[0].defence
    made = defence.train(runs, sets)
    if not isinstance(made, list) or len(made) != len(runs) or not all(isinstance(one, Trained) for one in made):
        raise ValueError(f"defence {part_name(defence)}: train returned {type(made).__name__}: expected a list of {len(runs)} lib.defences.Trained, "
                         "one a run, in their order")
    return made


def _row(status: str, run: Run, trained: Trained | None, outcome, facts: dict) -> dict:
    row = {"key": run.key, "status": status, "run": run.to_dict(), "provenance": facts}
    if status == "failed":
        return row | {"error": outcome, "metrics": {}, "curve": [], "privacy": {}}
    found, curve, numbers, certified = outcome
    row |= {"metrics": found, "curve": curve, "privacy": trained.privacy.as_dict(), "facts": numbers}
    return row | ({"certified": certified} if certified else {})


@functools.cache
def provenance() -> dict:
    """Commit, device, threads and versions of this process; no host name."""
    return {"commit": _git("rev-parse", "HEAD") or os.environ.get("STUDY_COMMIT", "unknown"), "dirty": bool(_git("status", "--porcelain", "lib")),
            "device": device_name(), "threads": torch.get_num_threads(),
            "versions": {"python": platform.python_version()} | {name: version(name) for name in ("torch", "opacus", "dp-accounting", "numpy")}}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=paths.ROOT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
