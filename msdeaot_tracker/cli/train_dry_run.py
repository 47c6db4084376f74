"""`msdeaot train --dry-run`: what would run, what is missing, what it would cost."""

from __future__ import annotations

from torch import nn

from ..training.config import LoopConfig, TrainConfig
from ..training.engine import make_fabric
from ..training.estimates import estimate
from ..training.recipe_types import IMAGENET, SCRATCH, Mix
from ..training.sharing import share_out
from ..types import CheckpointError, InputError, TrackerError
from .train_plan import Plan


def describe(plan: Plan, processes: int, device: str) -> int:
    """Print it -> 0, or 2 when it would not run. InputError: options that cannot be, whatever the data."""
    recipe, config = plan.recipe, plan.config
    problems = []
    _line("recipe", f"{recipe.name}: {recipe.about}")
    if recipe.ours:
        _line("our choice", recipe.ours)
    missing = _describe_data(plan)
    if missing:
        problems.append(f"{missing} of {len(recipe.data.datasets)} datasets cannot be used")
    model, start_problem = _describe_model(plan)
    problems += start_problem
    _describe_steps(config, processes)
    _describe_cost(plan, model, processes, device)
    _line("", f"would not run: {'; '.join(problems)}" if problems else "would run")
    return 2 if problems else 0


def _line(head: str, text: str) -> None:
    print(f"{head:12} {text}")


def _describe_data(plan: Plan) -> int:
    """-> the number of datasets that cannot be used."""
    data, missing = plan.recipe.data, 0
    if not isinstance(data, Mix):
        _line("data", data.about)
        return 0
    _line("data", f"{data.samples}, of")
    for name in data.datasets:
        try:
            part = data.open_part(name, plan.folders)
            kind = "stills" if part.videos.stills else "videos"
            _line("", f"{name:12} found: {len(part.videos.names)} {kind} in {plan.folders[name]}")
        except InputError as error:
            missing += 1
            _line("", f"{name:12} missing: {error}")
    return missing


def _describe_model(plan: Plan) -> tuple[nn.Module, list[str]]:
    """-> the model without its weights, and what is wrong with those."""
    recipe, problems = plan.recipe, []
    model = plan.make_model()
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    _line("model", f"{recipe.preset}, {millions:.1f} million parameters")
    if plan.start is not None:
        _line("start", f"weights of {plan.start}")
    elif recipe.start == IMAGENET:
        _line("start", f"an encoder trained on ImageNet{f', {plan.encoder}' if plan.encoder else ''}")
    else:
        _line("start", "random weights" if recipe.start == SCRATCH else f"weights of {recipe.start}")
    try:
        plan.check_start()
        plan.load_start(model)
    except (InputError, CheckpointError) as error:
        problems.append(str(error))
    return model, problems


def _describe_steps(config: LoopConfig, processes: int) -> None:
    share = share_out(config, processes, rank=0)
    split = f"{processes} process{'es' * (processes > 1)} x {share.count // processes} of {share.micro_batch} at once"
    _line("steps", f"{config.steps:,} of {config.batch_size} samples = {split}; seed {config.seed}")
    schedule = config.schedule
    rates = f"{schedule.learning_rate:g} to {schedule.final_learning_rate:g}, warm-up {schedule.warm_up:.0%}"
    _line("rate", f"{rates}; of the encoder x {config.encoder_rate:g}; weight decay {config.weight_decay:g}")
    if config.frozen:
        _line("", f"frozen in the encoder: {', '.join(config.frozen)}")
    if isinstance(config, TrainConfig):
        lengths = ", ".join(f"{length} from {start:.0%}" for start, length in schedule.lengths)
        _line("clips", f"frames: {lengths}; memory is fed the truth until {schedule.true_masks:.0%}, then predictions")


def _describe_cost(plan: Plan, model: nn.Module, processes: int, device: str) -> None:
    config = plan.config
    try:
        cost = estimate(plan.recipe, model, make_fabric(device, precision=config.precision), processes)
    except InputError:
        raise
    except TrackerError as error:
        _line("cost", f"not measured: {error}")
        return
    hours = cost.seconds * config.steps / 3600
    _line("memory", f"about {cost.memory / 1e9:.1f} GB per process, beside the program itself")
    _line("time", f"{cost.seconds:.2f} s a step, {hours:.1f} hours in all, if the batches keep up")
    _line("", f"measured here, procedural clips {cost.measured}")
