"""What a GPU allows at best: arithmetic, memory traffic, and the kernels of a step."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from lib.bench.contender import Side
from lib.bench.timing import finish, threads_of
from lib.training import Rule, Schedule


@dataclass(frozen=True)
class Speed:
    """What a GPU can do by its data sheet: floating-point operations a second in float32 and in
    TF32 (dense), and bytes a second from memory."""

    float32: float
    fast: float
    bytes: float


SPEEDS = {"H100": Speed(67e12, 495e12, 3.35e12), "H200": Speed(67e12, 495e12, 4.8e12),
          "A100": Speed(19.5e12, 156e12, 2.0e12)}
# Passes over a model's numbers in one step: weights read twice and written, sums written, read and
# divided, momentum read and written.
PASSES = 8


class Operations(TorchDispatchMode):
    """Count the floating-point operations of products and convolutions inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None
                           ) -> Any:
        found = function(*args, **(kwargs or {}))
        counted = flop_registry.get(function._overloadpacket)
        if counted is not None:
            self.count += counted(*args, **(kwargs or {}), out_val=found)
        return found


def work(side: Side, models: int) -> tuple[float, float]:
    """Floating-point operations and bytes of memory traffic of a model and step of this side.

    Operations are those of its products and convolutions. Bytes are `PASSES` over the parameters;
    what the inputs add is left out, because models may share them.
    """
    counts = []
    for steps in (1, 2):  # the difference leaves out what comes before the first step
        with Operations() as found, threads_of(1):
            trained = side.train(Schedule(steps, Rule("sgd", 0.9)))
        counts.append(found.count)
    many = side.models or models
    return (counts[1] - counts[0]) / many, 4.0 * PASSES * trained.shape[1]


def floors(side: Side, models: int, device: torch.device) -> dict[str, float] | None:
    """ms a model and step that no trainer can go below on this GPU, by precision; None elsewhere.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    speed = next((own for part, own in SPEEDS.items() if part in name), None)
    if speed is None:
        return None
    operations, traffic = work(side, models)
    return {precision: 1000 * max(operations / own, traffic / speed.bytes)
            for precision, own in (("float32", speed.float32), ("fast", speed.fast))}


def launches(side: Side, precision: str) -> float:
    """Kernels that a step of this side launches on a GPU, for all its models."""
    from torch.profiler import ProfilerActivity, profile

    counts = []
    for steps in (2, 12):
        with profile(activities=[ProfilerActivity.CUDA]) as found:
            side.train(Schedule(steps, Rule("sgd", 0.9), precision=precision))
            finish()
        counts.append(sum(event.count for event in found.key_averages()))
    return (counts[1] - counts[0]) / 10
