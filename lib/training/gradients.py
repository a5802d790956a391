"""How gradients of poison and of clean records compare at fixed weights (Hong et al., section 3).

A record's gradient g_i is that of its own loss, with the label that it is trained on, over all
trained parameters; momentum, weight decay and batch transforms play no part. The paper compares the
mean gradients of both kinds in the kernel (the weights without the bias) of the last layer, and
averages them over the batches of an epoch, along which the weights change. Here the weights are
fixed, and the means are those of the whole training set.

Clipping scales g_i to c_i g_i, c_i = min(1, C / |g_i|). With P the sum over poison and K the sum
over clean records, clipped or not, poison's share of the sum is |P| / (|P| + |K|), and its
opposition is -<P, K> / |K|^2: the projection of P on the negative direction of K, in units of |K|.
At 1, poison cancels what clean records ask for; below 0, it helps them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from lib.training import modules, sizes
from lib.training.batches import as_input
from lib.training.steps import closed_form, per_sample

QUANTILES = (5, 25, 50, 75, 95)  # per cent
MAX_COSINES = 2000  # records of each kind whose cosine is measured, evenly spaced among them
KINDS = ("poison", "clean")


class Part(Protocol):
    """The per-sample gradients [1, batch, ...] of one layer."""

    @property
    def squared_norms(self) -> Tensor:
        """[1, batch]."""
        ...

    def sums(self, scales: Tensor) -> tuple[Tensor, ...]:
        """Sum of the gradients, each times its scale [1, batch]: [1, ...] a parameter."""
        ...

    def dots(self, *direction: Tensor) -> Tensor:
        """Dot products [1, batch] with a direction [1, ...] a parameter."""
        ...


@dataclass
class SampledPart:
    """The gradients of one parameter as they are, for modules without a closed form."""

    gradients: Tensor  # [batch, ...]

    @property
    def squared_norms(self) -> Tensor:
        return self.gradients.flatten(1).square().sum(1)[None]

    def sums(self, scales: Tensor) -> tuple[Tensor, ...]:
        return (torch.tensordot(scales, self.gradients, 1), )

    def dots(self, *direction: Tensor) -> Tensor:
        return (self.gradients.flatten(1) @ direction[0].flatten())[None]


class Records:
    """Per-sample gradients of a training set at fixed weights.

    state: parameters and buffers, as `Ensemble.state` returns them. pool: [n, ...]. rows: int64
    [records], places in the pool. labels: [records]. Raises ValueError for a module that mixes the
    samples of a batch, because a record has no gradient of its own there.
    """

    def __init__(self, module: nn.Module, state: Tensor, pool: Tensor, rows: Tensor,
                 labels: Tensor) -> None:
        if modules.mixes_a_batch(module):
            raise ValueError("gradients of single records: the model has batch normalisation, "
                             "which mixes the records of a batch; use GroupNorm or LayerNorm")
        self.module, self.pool, self.rows, self.labels = module, pool, rows, labels
        self.values = modules.unflatten(module, state[None])
        self.buffers = modules.unflatten_buffers(module, state[None])
        frozen = modules.frozen(module)
        self.trained = {name: value for name, value in self.values.items() if name not in frozen}
        numbers = sizes.sample_numbers(module, tuple(pool.shape[1:]))
        self.chunk = sizes.samples_at_once(module, pool.device, models=1, numbers=numbers)

    @property
    def kernel(self) -> slice:
        """Where the last layer's kernel lies in a flat gradient."""
        ends = torch.tensor([value.numel() for value in self.trained.values()]).cumsum(0).tolist()
        last = max(place for place, value in enumerate(self.trained.values()) if value.dim() > 2)
        return slice(ends[last] - list(self.trained.values())[last].numel(), ends[last])

    def chunks(self, places: Tensor) -> Iterator[tuple[Sequence[Part], Tensor]]:
        """The gradients of the records at `places`, and their norms [1, batch], in chunks."""
        for some in places.split(self.chunk):
            parts = self._parts(as_input(self.pool[self.rows[some]]), self.labels[some])
            yield parts, torch.stack([part.squared_norms for part in parts]).sum(0).sqrt()

    def _parts(self, x: Tensor, labels: Tensor) -> Sequence[Part]:
        if closed_form.supports(self.module, x.dim() - 1):
            return closed_form.parts(self.module, self.values, x[None], labels[None])
        own = {name: value[0] for name, value in (self.values | self.buffers).items()}
        moved = {name: own.pop(name) for name in self.trained}
        found = per_sample.gradients(modules.duplicate(self.module), moved, own, x, labels)
        return [SampledPart(gradient) for gradient in found.values()]

    def totals(self, places: Tensor, bound: float) -> "Totals":
        """Sums over the records at `places`, in double precision, and their norms."""
        numbers = sum(value.numel() for value in self.trained.values())
        plain = torch.zeros(numbers, dtype=torch.float64, device=self.pool.device)
        clipped, norms = plain.clone(), [plain[:0].float()]
        for parts, found in self.chunks(places):
            norms.append(found[0])
            plain += _flat(parts, torch.ones_like(found))
            if math.isfinite(bound):
                clipped += _flat(parts, (bound / found.clamp_min(1e-30)).clamp_max(1.0))
        return Totals(plain, clipped if math.isfinite(bound) else plain, torch.cat(norms))

    def cosines(self, places: Tensor, direction: Tensor) -> Tensor:
        """Cosine of each record's gradient with a flat direction; nan for a gradient of 0."""
        ends = [value.numel() for value in self.trained.values()]
        pieces = [piece.view(value.shape) for piece, value in
                  zip(direction.float().split(ends), self.trained.values(), strict=True)]
        found = [direction.new_zeros(0)]
        for parts, norms in self.chunks(places):
            left = iter(pieces)
            width = len(pieces) // len(parts)  # weight and bias, or a single parameter
            dots = sum(part.dots(*(next(left) for _ in range(width))) for part in parts)
            found.append((dots / norms / direction.norm())[0].double())
        return torch.cat(found)


@dataclass(frozen=True)
class Totals:
    """Sums of the gradients of some records, flat in double precision, and each record's norm."""

    plain: Tensor
    clipped: Tensor
    norms: Tensor

    @property
    def mean(self) -> Tensor:
        return self.plain / len(self.norms)


def _flat(parts: Sequence[Part], scales: Tensor) -> Tensor:
    sums = [gradient.flatten() for part in parts for gradient in part.sums(scales)]
    return torch.cat(sums).double()


def compare(records: Records, poison: Tensor, *, bound: float = math.inf
            ) -> dict[str, float | None]:
    """Compare gradients of poison and clean records; the names are in `lib.study.columns.ANATOMY`.

    poison: bool [records]. bound: the clipping norm C; infinite where nothing is clipped, which
    leaves the clipped measures None. Whatever needs a kind of record that is not there is None, as
    is what is not finite.
    """
    places = {"poison": poison.nonzero().flatten(), "clean": (~poison).nonzero().flatten()}
    totals = {kind: records.totals(places[kind], bound) for kind in KINDS}
    found = {f"{kind}_records": float(len(places[kind])) for kind in KINDS}
    found |= _means(totals, records.kernel) | _shares(totals, bound)
    direction = totals["clean"].mean
    for kind in KINDS:
        cosines = records.cosines(_spaced(places[kind]), direction)
        found |= _quantiles(f"{kind}_norm", totals[kind].norms.double())
        found |= _quantiles(f"{kind}_cosine", cosines)
    return {name: value if math.isfinite(value) else None for name, value in found.items()}


def _spaced(places: Tensor) -> Tensor:
    """At most `MAX_COSINES` of the places, evenly spaced."""
    if len(places) <= MAX_COSINES:
        return places
    return places[torch.arange(MAX_COSINES, device=places.device) * len(places) // MAX_COSINES]


def _means(totals: dict[str, Totals], kernel: slice) -> dict[str, float]:
    """Norms, their ratio and the cosine of the mean gradients: of the kernel, of everything."""
    poison, clean = totals["poison"].mean, totals["clean"].mean
    ratio, cosine = _ratio_and_cosine(poison[kernel], clean[kernel])
    ratio_all, cosine_all = _ratio_and_cosine(poison, clean)
    return {"ratio": ratio, "cosine": cosine, "ratio_all": ratio_all, "cosine_all": cosine_all,
            "poison_mean": poison[kernel].norm().item(), "clean_mean": clean[kernel].norm().item()}


def _ratio_and_cosine(poison: Tensor, clean: Tensor) -> tuple[float, float]:
    lengths = poison.norm(), clean.norm()
    return (lengths[0] / lengths[1]).item(), (poison @ clean / lengths[0] / lengths[1]).item()


def _shares(totals: dict[str, Totals], bound: float) -> dict[str, float]:
    """Poison's share of the sum and its opposition, and how many records are clipped."""
    poison, clean = totals["poison"], totals["clean"]
    share, opposition = _share_and_opposition(poison.plain, clean.plain)
    clipped_share, clipped_opposition = _share_and_opposition(poison.clipped, clean.clipped)
    found = {"share": share, "opposition": opposition, "share_clipped": clipped_share,
             "opposition_clipped": clipped_opposition} | {
        f"{kind}_clipped": (totals[kind].norms > bound).double().mean().item() for kind in KINDS}
    missing = [name for name in found if "clipped" in name and not math.isfinite(bound)]
    if not len(poison.norms):
        missing += [name for name in found if name != "clean_clipped"]
    return found | dict.fromkeys(missing, math.nan)


def _share_and_opposition(poison: Tensor, clean: Tensor) -> tuple[float, float]:
    lengths = poison.norm(), clean.norm()
    share = lengths[0] / (lengths[0] + lengths[1])
    return share.item(), -(poison @ clean / lengths[1] / lengths[1]).item()


def _quantiles(name: str, values: Tensor) -> dict[str, float]:
    """Quantiles over records, without those that have no value."""
    if not len(values):
        return {f"{name}_{quantile}": math.nan for quantile in QUANTILES}
    shares = torch.tensor(QUANTILES, dtype=values.dtype, device=values.device) / 100
    found = torch.nanquantile(values, shares).tolist()
    return {f"{name}_{quantile}": value for quantile, value in zip(QUANTILES, found)}
