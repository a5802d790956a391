"""How many models and samples to take through a step at once, to fit cache and memory."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.training import draws, modules
from lib.training.batches import as_input
from lib.training.residual import Residual
from lib.training.schedule import Member, Schedule
from lib.training.steps import closed_form, coefficients

CACHE_NUMBERS = 500_000  # floats of parameters; with optimizer state four times that, about 8 MB
COEFFICIENT_NUMBERS = 1_000_000  # the same for coefficients, where calls take most of a step
CPU_STEP_BYTES = 2**28
CPU_CONVOLUTION_BYTES = 2**29  # a thread; what a private step of a deep network keeps
CPU_COPY_BYTES = 2**29  # for noisy copies of the data, in memory at once
SHARED_NUMBERS = 1_000_000  # the same for models that share their batches
MIN_SHARED, MAX_SHARED = 8, 128  # such models; at least 8 pay at any size that fits memory
CPU_SHARED_BYTES = 2**29
MAX_MODELS = {"cpu": 8, "cuda": 512}
MAX_EXACT, EXACT_BYTES = 64, 2**32  # models and memory of an exact group on a GPU


def sample_numbers(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Number of floats that a private step keeps for one sample of one model."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    x = torch.zeros(1, *shape, device=next(module.parameters()).device)
    if not closed_form.supports(module, len(shape)):
        return x.numel() + 2 * parameters  # vmap computes every sample's gradient
    with torch.no_grad():
        return x.numel() + _kept(module, x)[0]


def _kept(layer: nn.Module, x: Tensor) -> tuple[int, Tensor]:
    """Numbers that a private step keeps of the layer for its input `x`, and its output."""
    if isinstance(layer, nn.Sequential):
        total = 0
        for inner in layer:
            kept, x = _kept(inner, x)
            total += kept
        return total, x
    if isinstance(layer, Residual):
        body, shortcut = _kept(layer.body, x), _kept(layer.shortcut, x)
        return body[0] + shortcut[0], body[1]
    found = layer(x)
    total = 2 * found.numel()
    if isinstance(layer, nn.Conv2d):  # patches, and one sample's gradient
        total += found[0, 0].numel() * layer.weight[0].numel() + layer.weight.numel()
    return total, found


def operations(module: nn.Module, pool: Tensor) -> int:
    """Floating-point operations of convolutions and linear layers in a forward pass for a sample.
    """
    counts = []

    def count(layer: nn.Conv2d | nn.Linear, inputs: tuple[Tensor, ...], found: Tensor) -> None:
        counts.append(2 * found.numel() * layer.weight[0].numel())
    watched = modules.duplicate(module).eval()
    for layer in watched.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            layer.register_forward_hook(count)
    with torch.no_grad():
        watched(as_input(pool[:1]))
    return sum(counts)


def outputs(module: nn.Module, pool: Tensor) -> int:
    """Number of outputs of the module, its classes."""
    with torch.no_grad():
        return modules.duplicate(module).eval()(as_input(pool[:1])).shape[-1]


def models_at_once(module: nn.Module, pool: Tensor, members: Sequence[Member],
                   schedule: Schedule, *, shared: bool = False) -> int:
    """Number of models to train together; shared: on the same batches."""
    in_coefficients = coefficients.applies(module, pool, members, schedule)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    coordinates = (coefficients.numbers(module, pool, members, schedule) if in_coefficients
                   else parameters)
    rows = schedule.rows(members) * pool[0].numel()
    copies = rows if any(member.input_noise for member in members) else 0
    if pool.device.type == "cpu":
        if shared:
            return _shared_on_cpu(parameters, len(members))
        cache = COEFFICIENT_NUMBERS if in_coefficients else CACHE_NUMBERS
        fitting = min(cache // (4 * coordinates), CPU_COPY_BYTES // (4 * copies or 1))
        return max(1, min(MAX_MODELS["cpu"], fitting))
    if schedule.exact:  # free memory must not affect the bits of a model
        each = 4 * (coordinates * 6 + parameters * 2 + rows)
        return max(1, min(MAX_EXACT, EXACT_BYTES // each))
    free, _ = torch.cuda.mem_get_info(pool.device)
    shape = tuple(pool.shape[1:])
    if in_coefficients:
        inputs = max(len(member.rows) for member in members) * torch.Size(shape).numel()
    else:
        batch = max(member.batch_size * len(member.rows) / member.nominal for member in members)
        inputs = batch * (sample_numbers(module, shape) - shared * torch.Size(shape).numel())
    kept = parameters * (1 + (1 + len(schedule.averages)) * (1 + len(schedule.snapshots)))
    if any(member.noise for member in members):  # a block of steps
        kept += draws.noise_steps(parameters) * parameters
    if "tail" in schedule.averages:  # running sums in double precision
        kept += 2 * coordinates * (3 + len(schedule.snapshots))
    each = 4 * (coordinates * 6 + kept + inputs + copies)
    return max(1, int(min(MAX_MODELS["cuda"], free // 2 // each)))


def _shared_on_cpu(parameters: int, members: int) -> int:
    """Number of models with shared batches to train together: groups of equal size, and one for
    every thread at least."""
    fitting = max(1, CPU_SHARED_BYTES // (4 * 6 * parameters))
    wanted = min(fitting, MAX_SHARED, max(MIN_SHARED, SHARED_NUMBERS // parameters))
    groups = max(-(-members // wanted), torch.get_num_threads())
    return -(-members // groups)


def samples_at_once(module: nn.Module, device: torch.device, *, models: int, numbers: int) -> int:
    """Samples of each model to take through a step together.

    numbers: floats per sample, see `sample_numbers`.
    """
    if device.type != "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, free // 4 // (4 * models * numbers))
    if convolves(module):
        # Batching convolutions pays only while the activations of each core stay in its cache.
        threads = torch.get_num_threads()
        fitting = CPU_CONVOLUTION_BYTES * threads // (4 * models * numbers)
        return max(8, min(256 * threads // models, fitting))
    return max(8, CPU_STEP_BYTES // (4 * models * numbers))


def samples_to_predict(module: nn.Module, device: torch.device) -> int:
    """Samples to predict together; few for convolutions, whose activations must fit a CPU's cache.
    """
    return 128 if device.type == "cpu" and convolves(module) else 4096


def convolves(module: nn.Module) -> bool:
    """Whether the module has a convolution."""
    return any(isinstance(layer, nn.Conv2d) for layer in module.modules())
