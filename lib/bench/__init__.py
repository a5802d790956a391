"""Benchmarks of this trainer against the alternatives, side by side in one process.

Each side first finds its fastest number of threads and precision. The sides then alternate for
`ROUNDS` rounds, and their medians are compared. No ratio is printed if other processes were busy,
because it would mean nothing. On a GPU, times end when the device is done, and beside them stand
the kernels that a step launches and a floor: what arithmetic and memory traffic alone would take.
"""

import json
import statistics

import torch

from lib.bench.deep_networks import adversarial_epoch, convnet_epoch
from lib.bench.floor import floors, launches
from lib.bench.laboratory import brewing_poisons
from lib.bench.small_models import (
    cnn_sweep,
    head,
    partitions,
    partitions_cnn,
    retraining,
    retraining_mlp,
    smoothing,
    smoothing_head,
    teachers,
)
from lib.bench.timing import Load, best_setting, difference, timed

ROUNDS = 5
MAX_OTHERS = 0.15  # CPUs that other processes may use on average

BENCHMARKS = {
    "dpsgd-head": head, "dpsgd-cnn-sweep": cnn_sweep, "teachers": teachers,
    "partitions": partitions, "partitions-cnn": partitions_cnn, "smoothing": smoothing,
    "smoothing-head": smoothing_head, "retraining": retraining, "retraining-mlp": retraining_mlp,
    "convnet-epoch": convnet_epoch, "adversarial-epoch": adversarial_epoch,
    "brewing": brewing_poisons,
}


def measure(name: str, device: torch.device) -> dict:
    """Run one benchmark; returns plain values.

    Per side: settings, median times, and times relative to ours (None if other processes were
    busy); on a GPU the kernels of a step and the floor in ms a model and step (None if its speed is
    not known). Further: the load of other processes, and the difference between the results.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"benchmark {name!r}: expected one of {', '.join(BENCHMARKS)}")
    sides, models = BENCHMARKS[name](device)
    apart = difference(sides)
    with Load() as load:
        settings = {side.name: best_setting(side, models, device) for side in sides}
        rounds = [{side.name: timed(side, *settings[side.name], models) for side in sides}
                  for _ in range(ROUNDS)]
    quiet = load.others <= MAX_OTHERS
    ours = sides[0].name
    results = []
    for side in sides:
        threads, precision = settings[side.name]
        timings = [timing[side.name] for timing in rounds]
        ratios = [timing[side.name].wall / timing[ours].wall for timing in rounds]
        results.append({
            "side": side.name, "threads": threads, "precision": precision,
            "wall_ms": statistics.median(timing.wall for timing in timings),
            "cpu_ms": statistics.median(timing.cpu for timing in timings),
            "times_ours": statistics.median(ratios) if quiet else None, "required": side.required,
            "kernels": launches(side, precision) if device.type == "cuda" else None})
    return {"benchmark": name, "device": str(device), "floor_ms": floors(sides[0], models, device),
            "about": str(BENCHMARKS[name].__doc__).splitlines()[0], "models": models,
            "rounds": ROUNDS, "quiet": quiet, "others_cpus": load.others, "difference": apart,
            "sides": results}


def _show(result: dict) -> str:
    busy = "" if result["quiet"] else "; too busy to compare, so no ratios are shown"
    lines = [
        f"{result['benchmark']}: {result['about']}",
        f"  times per model and step; results differ from {result['sides'][1]['side']} by at "
        f"most {result['difference']:.1e} after 3 steps",
        f"  other processes used {result['others_cpus']:.2f} CPUs{busy}",
    ]
    for side in result["sides"]:
        ratio = "" if side["times_ours"] is None else f"{side['times_ours']:8.2f} x ours"
        wanted = "" if side["required"] is None else f"  (required: {side['required']:.2f} or more)"
        lines.append(
            f"  {side['side']:<26}{side['wall_ms']:9.2f} ms wall {side['cpu_ms']:9.2f} ms CPU "
            f" {side['threads']} threads, {side['precision']:<8}{ratio}{wanted}{_of_gpu(side)}")
    if result["floor_ms"]:
        lines.append("  floor, by the data sheet: " + ", ".join(
            f"{value:.4f} ms in {name}" for name, value in result["floor_ms"].items()))
    return "\n".join(lines)


def _of_gpu(side: dict) -> str:
    return "" if side["kernels"] is None else f"  {side['kernels']:.0f} kernels a step"


def main(name: str | None = None, *, as_json: bool = False, device: str = "cpu") -> int:
    """Run one benchmark or all, print the results, and return 0; ValueError for an unknown name."""
    for chosen in [name] if name else BENCHMARKS:
        result = measure(chosen, torch.device(device))
        print(json.dumps(result) if as_json else _show(result), flush=True)
    return 0
