"""What a run trains on and is measured on: data, features, poison and cases, each computed once."""

import functools
import json
import os
import platform
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from lib import attacks, data, defences, models, training
from lib.data import Labelled
from lib.goals import Cases, Goal
from lib.lab import Lab, Surrogate
from lib.parts import name_of, version
from lib.study.runs import Run
from lib.training.transforms import Viewed, mixes_public, viewed

MIN_PRIVATE = 10  # images


def device() -> torch.device:
    """The device to train on: $STUDY_DEVICE, by default CUDA if available, else the CPU.

    Raises ValueError for an unknown or unavailable device.
    """
    wanted = os.environ.get("STUDY_DEVICE", "auto")
    if wanted not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device {wanted!r}: expected auto, cpu or cuda")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda': torch sees no CUDA device; choose cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def device_name() -> str:
    """The name of the training device, as recorded in rows."""
    where = device()
    cuda = where.type == "cuda"
    return torch.cuda.get_device_name(where) if cuda else f"CPU ({platform.machine()})"


# ---------------------------------------------------------------- data

@functools.lru_cache(maxsize=4)
def _dataset(name: str, train_size: int | None, test_size: int | None) -> data.Dataset:
    return data.load(name, train_size=train_size, test_size=test_size)


@functools.lru_cache(maxsize=4)
def _split(name: str, train_size: int | None, test_size: int | None, public: int, split: str
           ) -> tuple[Labelled, Labelled]:
    whole = _dataset(name, train_size, test_size)
    images, labels = whole.train_images[public:], whole.train_labels[public:]
    if len(labels) < MIN_PRIVATE:
        raise ValueError(f"public {public} of {len(whole.train_labels)} training images leaves "
                         f"{len(labels)} private ones: expected {MIN_PRIVATE} or more")
    if split == "test":
        return (Labelled(images, labels, whole.classes),
                Labelled(whole.test_images, whole.test_labels, whole.classes))
    held = _tenth(len(labels), split)
    return (Labelled(images[~held], labels[~held], whole.classes),
            Labelled(images[held], labels[held], whole.classes))


def _tenth(n: int, split: str) -> Tensor:
    """Mask of the records that tuning holds out, bool [n]: a tenth, counted from the end."""
    number, size = int(split.partition("-")[2] or 1), n // 10
    held = torch.zeros(n, dtype=torch.bool)
    held[n - number * size:n - (number - 1) * size] = True
    return held


def private_and_test(run: Run) -> tuple[Labelled, Labelled]:
    """The records that the victim trains on, and those that it is measured on."""
    return _split(run.dataset, run.train_size, run.test_size, run.public, run.split)


def public_images(run: Run) -> Labelled:
    """The public images: the first `run.public` of the training set."""
    whole = _dataset(run.dataset, run.train_size, run.test_size)
    images, labels = whole.train_images[:run.public], whole.train_labels[:run.public]
    return Labelled(images, labels, whole.classes)


@functools.lru_cache(maxsize=1)
def _spare(name: str, train_size: int | None) -> Labelled:
    if train_size is None:
        whole = _dataset(name, None, None)
        return Labelled(whole.train_images[:0], whole.train_labels[:0], whole.classes)
    whole = data.load(name)
    used = set(map(_bytes, whole.train_images[:train_size]))
    kept = torch.tensor([number for number in range(train_size, len(whole.train_labels))
                         if _bytes(whole.train_images[number]) not in used], dtype=torch.long)
    return Labelled(whole.train_images[kept], whole.train_labels[kept], whole.classes)


def _bytes(image: Tensor) -> bytes:
    return image.contiguous().numpy().tobytes()


def spare_images(run: Run) -> Labelled:
    """The training images that neither the victim nor the public has: those after the first
    `run.train_size`, without copies of these. None are left if the run uses all."""
    return _spare(run.dataset, run.train_size)


# ---------------------------------------------------------------- features

def _features(run: Run) -> str:
    """The features that the run's inputs are; "none" if its defence computes them from images."""
    return "none" if defences.asks(run.defence).on_pixels else run.features


def _place(run: Run) -> tuple:
    return run.dataset, run.train_size, run.test_size, run.public, _features(run)


def _encoded(images: Tensor, name, train_size, test_size, public, features: str) -> Tensor:
    """The images themselves, or their features."""
    if features == "none" or not len(images):
        return images
    from lib import features as extractors
    whole = _dataset(name, None, None)
    return extractors.extract(features, whole, images.to(device()), public=public)


@functools.lru_cache(maxsize=4)
def _public_inputs(name, train_size, test_size, public, features, where: str) -> Tensor:
    images = _dataset(name, train_size, test_size).train_images[:public]
    return _encoded(images, name, train_size, test_size, public, features).to(where)


@functools.lru_cache(maxsize=4)
def _shared(name, train_size, test_size, public, split, features, where: str
            ) -> tuple[Tensor, Tensor]:
    if split != "test":  # select from the features of the whole set, which are cached
        private = _shared(name, train_size, test_size, public, "test", features, where)[0]
        held = _tenth(len(private), split).to(where)
        return private[~held], private[held]
    train, test = (_encoded(part.images, name, train_size, test_size, public, features).to(where)
                   for part in _split(name, train_size, test_size, public, split))
    return train, test


def shared(run: Run) -> tuple[Tensor, Tensor]:
    """Inputs of the clean training images and the test images on the device, shared by all runs."""
    return _shared(run.dataset, run.train_size, run.test_size, run.public, run.split,
                   _features(run), str(device()))


def encoded(run: Run, images: Tensor) -> Tensor:
    """The run's inputs (pixels or features) for further images."""
    return _encoded(images, *_place(run)).to(device())


# ---------------------------------------------------------------- poison

def lab(run: Run, *, records: str = "private", start: Tensor | None = None) -> Lab:
    """The attacker's laboratory for this run.

    records: "private" or "public", what it poisons. start: the weights that the run starts from.
    """
    whole = _dataset(run.dataset, run.train_size, run.test_size)
    context = {"dataset": whole.digest, "train_size": run.train_size, "public": run.public,
               "test_size": run.test_size, "split": run.split, "features": run.features,
               "attack": [name_of(run.attack), version(run.attack)], "records": records,
               "device": device().type, "versions": _data_versions(run)}
    if run.start is not None:
        context["start"] = run.start.key
    network = None if start is None else _network(run, start)
    return Lab(device(), _gradients(run), context, public_images(run), private_and_test(run)[1],
               network, functools.partial(spare_images, run))


def _network(run: Run, weights: Tensor) -> Surrogate:
    """The run's network with these weights, differentiable in its images."""
    inputs = shared(run)[1]
    module = models.build(run.model, tuple(inputs.shape[1:]), len(private_and_test(run)[1].classes))
    module = module.to(device()).eval()
    values = training.unflatten(module, weights[None]) | training.unflatten_buffers(
        module, weights[None])
    own = {name: value[0] for name, value in values.items()}
    encode = _gradients(run)
    return Surrogate(module, own, lambda images: encode(images.to(device()).float()))


def _data_versions(run: Run) -> list[int]:
    from lib import features as extractors
    return [data.VERSION] + ([] if run.features == "none" else [extractors.VERSION])


def _gradients(run: Run):
    """The victim's inputs as a differentiable function of float images, built on first use."""
    if run.features == "none":
        return lambda images: images / 255
    from lib import features as extractors

    @functools.cache
    def network():
        return extractors.differentiable(run.features, _dataset(run.dataset, None, None),
                                         public=run.public, device=device())
    return lambda images: network()(images)


def poisoned(run: Run, *, start: Tensor | None = None) -> list[attacks.Poisoned]:
    """The run's poisoned training set, or those of all tries if its attack searches.

    Features if the run uses them, and what its defence asks for (`lib.defences.asks`): pixels,
    public records, an encoder. start: the weights that the run starts from.
    """
    private, own = private_and_test(run)[0], lab(run, start=start)
    attack, seed = run.attack, run.attack_seed
    made = (attack.tries(private, seed=seed, lab=own) if isinstance(attack, attacks.Search)
            else [attack.craft(private, seed=seed, lab=own)])
    return [replace(_completed(run, images), start=start) for images in made]


def prepare(runs: Iterable[Run]) -> None:
    """Craft together what attacks of these runs craft faster so; `poisoned` finds it in the cache.

    Leaves out runs with a start, whose networks differ.
    """
    together: dict[tuple, dict[tuple, Run]] = {}
    for run in runs:
        attack = run.attack
        if isinstance(attack, attacks.Prepared) and run.start is None and attack.in_world != "C":
            context = json.dumps(dict(lab(run).context), sort_keys=True)
            group = together.setdefault((context, attack.alike), {})
            group[attack, run.attack_seed] = run
    for group in together.values():
        first = next(iter(group.values()))
        if len(group) > 1 and isinstance(first.attack, attacks.Prepared):
            each, seeds = zip(*group)
            first.attack.prepare(each, private_and_test(first)[0], seeds=seeds, lab=lab(first))


def _completed(run: Run, images: attacks.Poisoned) -> attacks.Poisoned:
    """The attacked images as inputs, with what the run's defence asks for."""
    asked = defences.asks(run.defence)
    if images.late is not None and _features(run) != "none":
        raise ValueError(f"features {run.features!r} with an attack that stamps after the "
                         "augmentation: expected none; features are computed once, without it")
    found = _with_inputs(run, images, shared(run)[0])
    if asked.pixels:
        found = replace(found, pixels=images)
    if asked.public:
        found = replace(found, public=_public(run))
    if mixed := mixes_public(run.training.transforms):
        found = replace(found, trusted=_trusted(run, f"transform {', '.join(mixed)}", "mixes"))
    elif asked.trusted:
        found = replace(found, trusted=_trusted(run, f"defence {name_of(run.defence)}", "trusts"))
    if view := viewed(run.training.transforms):
        found = replace(found, views=_views(run, images, view))
    if _features(run) != run.features:
        found = replace(found, encode=_encoder(run))
    return found


def _encoder(run: Run):
    from lib import features as extractors
    return extractors.encoder(run.features, _dataset(run.dataset, None, None), public=run.public,
                              device=device())


def _views(run: Run, images: attacks.Poisoned, view: Viewed) -> tuple[Tensor, Tensor]:
    """The features of all views of the clean and of the stamped images, [n, views, d] each."""
    if _features(run) == "none":
        raise ValueError(f"transform {name_of(view)} with inputs that are images: expected frozen "
                         "features, and a defence that trains on them; for images use the "
                         "transforms crop and flip")
    where = str(device())
    clean = _clean_views(*_place(run), run.split, view, where)
    if not len(images.stamped):
        return clean, clean[:0]
    return clean, _encoded_views(images.stamped, view, where, *_place(run))


@functools.lru_cache(maxsize=1)
def _clean_views(name, train_size, test_size, public, features, split: str, view: Viewed,
                 where: str) -> Tensor:
    """Of the private images; those of a part of them are selected from the whole set's."""
    private = _split(name, train_size, test_size, public, "test")[0]
    found = _encoded_views(private.images, view, where, name, train_size, test_size, public,
                           features)
    return found if split == "test" else found[~_tenth(len(found), split).to(where)]


def _encoded_views(images: Tensor, view: Viewed, where: str, name, train_size, test_size, public,
                   features: str) -> Tensor:
    """The features [n, views, d] of all views of the images; each view's are cached by itself."""
    found: Tensor | None = None
    views = view.views(images)
    for place, own in enumerate(views):
        encoded = _encoded(own, name, train_size, test_size, public, features)
        if found is None:  # filled in place: a bank takes gigabytes
            found = encoded.new_empty(len(encoded), len(views), *encoded.shape[1:], device=where)
        found[:, place] = encoded.to(where)
    if found is None:
        raise ValueError(f"transform {name_of(view)} makes no view: expected 1 or more")
    return found


def _public(run: Run) -> attacks.Poisoned:
    """The public records under the same attack: same trigger, same poisoned share."""
    if not run.public:
        raise ValueError(f"defence {name_of(run.defence)}: public 0: expected 1 or more; the "
                         "defence needs public training images")
    images = run.attack.craft(public_images(run), seed=run.attack_seed,
                              lab=lab(run, records="public"))
    return _with_inputs(run, images, _public_inputs(*_place(run), str(device())))


def _trusted(run: Run, who: str, does: str) -> tuple[Tensor, Tensor]:
    """Inputs and labels of the public records, which the attacker does not reach, for `who`."""
    if not run.public:
        raise ValueError(f"{who}: public 0: expected 1 or more; it {does} public training images")
    inputs = _public_inputs(*_place(run), str(device()))
    return inputs, public_images(run).labels.to(inputs.device)


def _with_inputs(run: Run, images: attacks.Poisoned, clean: Tensor) -> attacks.Poisoned:
    """The attacked set on the device, as features if the run uses them."""
    if images.stamped.dtype != torch.uint8 and run.features != "none":
        raise ValueError(f"features {run.features!r} with an attack whose pixels may leave [0, 1]: "
                         "expected none, or an attack that makes images (for slab, clip_pixels)")
    stamped = encoded(run, images.stamped) if len(images.stamped) else clean[:0]
    moved = {name: getattr(images, name).to(clean.device)
             for name in ("rows", "labels", "mask", "truth")}
    late = images.late and replace(images.late, beneath=images.late.beneath.to(clean.device))
    return replace(images, clean=clean, stamped=stamped, late=late, **moved)


# ---------------------------------------------------------------- cases

def cases(run: Run) -> tuple[Cases, Tensor]:
    """The test images that count for the attacker's goal, and their inputs on the device."""
    return _cases(run.attack.goal, _files(run), run.attack_seed, run.split, False, *_place(run))


def everyone(run: Run) -> tuple[Cases, Tensor]:
    """Every test image as the attacker would present it, and its inputs on the device."""
    return _cases(run.attack.goal, _files(run), run.attack_seed, run.split, True, *_place(run))


def _files(run: Run) -> str:
    """The attack's version, which includes the content of its files: they may change meanwhile."""
    return str(version(run.attack))


@functools.lru_cache(maxsize=8)
def _cases(goal: Goal, files: str, seed: int, split: str, everyone: bool,
           *place) -> tuple[Cases, Tensor]:
    # Cached by goal: runs that differ in training, world or strength share one entry.
    test = _split(*place[:4], split)[1]
    found = (goal.everyone if everyone else goal.cases)(test, seed=seed)
    return found, _encoded(found.images, *place).to(device())
