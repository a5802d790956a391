"""How many models and samples go through a step at once: what cache and memory hold."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.training.schedule import Member, Schedule
from lib.training.steps import closed_form, coefficients

CACHE_NUMBERS = 500_000  # of parameters and optimiser state, each four times: about 8 MB
COEFFICIENT_NUMBERS = 1_000_000  # the same of coefficients: most of a step is calls
CPU_STEP_BYTES = 2**28
CPU_COPIES = 2**29  # bytes of noisy copies of the data that lie in memory at once
MOST_MODELS = {"cpu": 8, "cuda": 512}
MOST_EXACT, EXACT_BYTES = 64, 2**32  # of a group on a GPU whose models must not depend on the group


def sample_numbers(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Floats that one sample of one model leaves behind in a private step."""
    parameters = sum(parameter.numel() for parameter in module.parameters())
    x = torch.zeros(1, *shape, device=next(module.parameters()).device)
    if not closed_form.supports(module, len(shape)):
        return x.numel() + 2 * parameters  # vmap forms every gradient
    total = x.numel()
    with torch.no_grad():
        for layer in module:
            x = layer(x)
            total += 2 * x.numel()
            if isinstance(layer, nn.Conv2d):
                kernel = layer.weight[0].numel()
                total += (
                    x[0, 0].numel() * kernel + layer.weight.numel()
                )  # patches, and one sample's gradient
    return total


def models_at_once(
    module: nn.Module, pool: Tensor, members: Sequence[Member], schedule: Schedule
) -> int:
    """Models to train together."""
    in_coefficients = coefficients.applies(module, pool, members, schedule)
    parameters = sum(parameter.numel() for parameter in module.parameters())
    coordinates = (
        coefficients.numbers(module, pool, members, schedule) if in_coefficients else parameters
    )
    copies = (
        schedule.rows(members) * pool[0].numel()
        if any(member.input_noise for member in members)
        else 0
    )
    if pool.device.type == "cpu":
        cache = COEFFICIENT_NUMBERS if in_coefficients else CACHE_NUMBERS
        return max(
            1, min(MOST_MODELS["cpu"], cache // (4 * coordinates), CPU_COPIES // (4 * copies or 1))
        )
    if schedule.exact:  # free memory must not decide how a model is computed
        return max(
            1,
            min(
                MOST_EXACT,
                EXACT_BYTES
                // (
                    4
                    * (coordinates * 6 + parameters * 2 + schedule.rows(members) * pool[0].numel())
                ),
            ),
        )
    free, _ = torch.cuda.mem_get_info(pool.device)
    shape = tuple(pool.shape[1:])
    inputs = (
        max(len(member.rows) for member in members) * torch.Size(shape).numel()
        if in_coefficients
        else max(member.batch_size * len(member.rows) / member.nominal for member in members)
        * sample_numbers(module, shape)
    )
    kept = parameters * (1 + (1 + len(schedule.averages)) * (1 + len(schedule.snapshots)))
    if "tail" in schedule.averages:  # running sums in double precision
        kept += 2 * coordinates * (3 + len(schedule.snapshots))
    each = 4 * (coordinates * 6 + kept + inputs + copies)
    return max(1, int(min(MOST_MODELS["cuda"], free // 2 // each)))


def samples_at_once(module: nn.Module, device: torch.device, *, models: int, numbers: int) -> int:
    """Samples of each model to take through a step together."""
    if device.type != "cpu":
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, free // 4 // (4 * models * numbers))
    if any(isinstance(layer, nn.Conv2d) for layer in module.modules()):
        # Convolutions only pay while the activations that each core works on stay in its cache.
        return max(8, 256 * torch.get_num_threads() // models)
    return max(8, CPU_STEP_BYTES // (4 * models * numbers))


def samples_to_predict(module: nn.Module, device: torch.device) -> int:
    """Samples to predict together: a convolution's activations stay in a CPU's cache."""
    convolutions = any(isinstance(layer, nn.Conv2d) for layer in module.modules())
    return 256 if device.type == "cpu" and convolutions else 4096
