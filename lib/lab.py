"""The attacker's laboratory: what an attacker crafts poison with.

An attacker knows the data, the victim's public feature extractor and the usual networks, but not
the victim's weights. Crafting may train networks and take minutes, so its results are cached and
shared by all worlds, defences and seeds that need the same.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib import models, parts, paths, training
from lib.data import Labelled, cache
from lib.training import Member, Training


@dataclass(frozen=True, eq=False)
class Surrogate:
    """A network that the attacker trained; its outputs are differentiable in the images.

    parameters: and buffers, by name.
    """

    module: nn.Module
    parameters: Mapping[str, Tensor]
    encode: Callable[[Tensor], Tensor]

    def logits(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of images [n, channels, height, width], 0 to 255, uint8 or float."""
        return functional_call(self.module, dict(self.parameters), self.encode(images))

    def hidden(self, images: Tensor) -> Tensor:
        """The inputs of the last layer [n, width]; raises ValueError unless it is a Sequential."""
        if not isinstance(self.module, nn.Sequential):
            raise ValueError(f"surrogate {type(self.module).__name__}: expected a Sequential, to "
                             "read the inputs of its last layer")
        last = len(self.module) - 1
        kept = {name: value for name, value in self.parameters.items()
                if not name.startswith(f"{last}.")}
        return functional_call(self.module[:last], kept, self.encode(images))


def surrogate_seed(number: int) -> int:
    """The seed of the attacker's network of this number, which no victim uses."""
    return int(parts.digest(["surrogate", number])[:7], 16)


@dataclass(frozen=True, eq=False)
class Lab:
    """The attacker's means.

    device: where to craft. encoder: a differentiable function from float images (0 to 255) to the
    inputs of the victim's network. context: plain values that everything crafted here depends on,
    beside its own key (data set, sizes, features, versions, which records are poisoned). public:
    images that everybody has. test: the test set, from which an attack may use only the images that
    its goal names (targets, donors). start: the network that the victim's training starts from, for
    an attacker who knows it (white box); None if the victim trains from scratch. spare: loads the
    training images that the victim does not use, for an attacker whose images are its own.
    """

    device: torch.device
    encoder: Callable[[Tensor], Tensor]
    context: Mapping[str, object] = field(default_factory=dict)
    public: Labelled | None = None
    test: Labelled | None = None
    start: Surrogate | None = None
    spare: Callable[[], Labelled] | None = None

    def given_spare(self) -> Labelled:
        """Images that the victim does not train on; ValueError if there are none."""
        found = None if self.spare is None else self.spare()
        if found is None or not len(found.labels):
            raise ValueError("the attacker has no images of its own: data 'disjoint' expects a "
                             "train_size below the data set's number of training images, as the "
                             "victim trains on all of them; or use data 'victim'")
        return found

    def given_start(self) -> Surrogate:
        """The network that the victim starts from; ValueError if it starts from scratch."""
        if self.start is None:
            raise ValueError("the attack needs the network that the victim starts from: expected a "
                             "run with a start")
        return self.start

    def given_test(self) -> Labelled:
        """The test set; ValueError if this laboratory has none."""
        if self.test is None:
            raise ValueError("the attack needs test images: expected a laboratory with a test set")
        return self.test

    def encode(self, images: Tensor) -> Tensor:
        """The victim's inputs for images [n, channels, height, width], 0 to 255, on the device."""
        return self.encoder(images.to(self.device).float())

    def surrogate(self, model: str, settings: Training, data: Labelled, *, seed: int,
                  encoded: bool = True, precision: str = "float32") -> Surrogate:
        """Train `model` on the attacker's data, or load it from the cache.

        The same seed gives the same network. encoded: train on the victim's inputs (features if it
        uses them), else on pixels. precision: of its training, as a run's.
        """
        encode = self.encode if encoded else self._pixels
        transforms = [parts.version(transform) for transform in settings.transforms]
        key = {
            "surrogate": model, "training": parts.sparse(settings), "seed": seed,
            "encoded": encoded,
            "data": cache.checksum({"images": data.images, "labels": data.labels}),
            "versions": {"model": models.version(model), "training": training.VERSION,
                         "transforms": transforms}}
        if precision != "float32":
            key["precision"] = precision

        def make() -> dict[str, Tensor]:
            with torch.no_grad():
                inputs = torch.cat([encode(part) for part in data.images.split(512)])
            return self._trained(model, settings, inputs, data, seed=seed, precision=precision)
        kept = self.cached(key, make)
        shape = tuple(encode(data.images[:1]).shape[1:])
        module = models.build(model, shape, len(data.classes)).to(self.device).eval()
        names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
        return Surrogate(module, {name: kept[name].to(self.device) for name in names}, encode)

    def cached(self, key: Mapping[str, object], make: Callable[[], dict[str, Tensor]]
               ) -> dict[str, Tensor]:
        """The named tensors that `make` returns, cached under this key and the lab's context.

        key: plain values that say what `make` computes. A damaged file is computed again.
        """
        return cache.keep(self._place(key), make)

    def made(self, key: Mapping[str, object]) -> bool:
        """Whether tensors are cached under this key, damaged or not."""
        return self._place(key).is_file()

    def _place(self, key: Mapping[str, object]) -> Path:
        whole = json.dumps({"key": dict(key), "context": dict(self.context)}, sort_keys=True)
        name = hashlib.sha256(whole.encode()).hexdigest()[:40]
        return paths.artefact_dir() / "crafted" / f"{name}.safetensors"

    def _pixels(self, images: Tensor) -> Tensor:
        return images.to(self.device).float() / 255

    def _trained(self, model: str, settings: Training, inputs: Tensor, data: Labelled, *,
                 seed: int, precision: str) -> dict[str, Tensor]:
        n, classes = len(inputs), len(data.classes)
        member = Member(torch.arange(n, device=self.device), data.labels.to(self.device),
                        min(settings.batch_size, n), settings.lr, init_seed=seed, batch_seed=seed)
        made = training.fit(lambda: models.build(model, tuple(inputs.shape[1:]), classes), inputs,
                            [member], settings.plan(n, precision))
        values = training.unflatten(made.module, made.parameters)
        values |= training.unflatten_buffers(made.module, made.parameters)
        return {name: copy.copy(value[0]) for name, value in values.items()}
