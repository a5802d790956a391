"""Benchmarks: what a step's arithmetic and memory traffic amount to, and which device they use."""

import pytest
import torch
from torch import nn

from lib import bench, training
from lib.attacks import brewing
from lib.bench import deep_networks, floor, laboratory, small_models, timing
from lib.commands import Problem, options, worker
from lib.training import Rule, Schedule
from lib.training.transforms.crop import Crop
from lib.training.transforms.flip import Flip

CPU = torch.device("cpu")


def test_the_work_of_a_step_is_that_of_its_products():
    sides, models = small_models.head(CPU)
    operations, traffic = floor.work(sides[0], models)
    first, second, batch = 2048 * 256, 256 * 10, 512
    # forward and the gradients of the weights in both layers, that of the inputs in the second
    expected = 2 * batch * (2 * first + 3 * second)
    assert operations == pytest.approx(expected, rel=0.1)
    assert traffic == 4 * floor.PASSES * (first + 256 + second + 10)


def test_the_floor_is_known_for_known_devices_alone(monkeypatch):
    sides, models = small_models.head(CPU)
    assert floor.floors(sides[0], models, CPU) is None
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(floor, "work", lambda side, models: (67e9, 4.8e9))
    assert floor.floors(sides[0], models, gpu) == pytest.approx({"float32": 1.0, "fast": 1.0})
    monkeypatch.setattr(floor, "work", lambda side, models: (495e9, 0.0))
    assert floor.floors(sides[0], models, gpu)["fast"] == pytest.approx(1.0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "GeForce 256")
    assert floor.floors(sides[0], models, gpu) is None


def test_both_sides_train_on_the_same_adversarial_images():
    sides, models = deep_networks.adversarial_epoch(CPU)
    assert models == 1 and [side.required for side in sides] == [None, 1.5, None]
    assert timing.difference(sides) < 1e-3


def test_brewing_is_the_same_on_both_sides(monkeypatch):
    sides, attacks = laboratory._brews(CPU, attacks=2, poisons=8)
    assert attacks == 2 and timing.difference(sides) < 1e-5
    monkeypatch.setattr(brewing, "_stacks", lambda *given: True)
    assert timing.difference(sides) < 1e-5


def test_the_torchvision_loop_trains_on_the_same_crops_and_flips():
    sides, models = deep_networks.convnet_epoch(CPU)
    assert models == 1 and {side.required for side in sides} == {None, 3.0}
    member = training.Member(torch.arange(12), torch.arange(12) % 4, 5, 0.1)
    schedule = Schedule(4, Rule("sgd", 0.9), "shuffle", transforms=(Crop(), Flip()))
    pool = torch.randint(256, (12, 3, 32, 32), dtype=torch.uint8)

    def build():
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(900, 4))
    ours = training.fit(build, pool, [member], schedule).parameters
    theirs = deep_networks._torchvision(build, pool, member, schedule, 0, CPU)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_a_device_that_is_not_there_is_one_line():
    given = options.parse(["bench", "dpsgd-head", "--device", "cuda"])
    with pytest.raises(Problem, match="no CUDA device"):
        worker.bench(given.name, as_json=False, device=given.device)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["dpsgd-head", "teachers", "brewing"])
def test_a_benchmark_on_a_gpu_counts_kernels_and_knows_its_floor(name, monkeypatch):
    monkeypatch.setattr(bench, "ROUNDS", 1)
    found = bench.measure(name, torch.device("cuda"))
    assert found["difference"] < 1e-3
    assert all(side["kernels"] > 0 for side in found["sides"])
