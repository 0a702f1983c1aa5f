"""The training step and its state: forward, losses, backward, update, average."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from posrefine.errors import ConfigurationError, TrainingError
from posrefine.modeling.adaptive_conv import at_flat_cells
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.per_channel import is_per_channel
from posrefine.training.average import AveragedModel
from posrefine.training.losses import Losses, flat_cells_to_learn, training_losses
from posrefine.training.recipe import TrainRecipe
from posrefine.training.samples import Batch

__all__ = ["StepReport", "Trainer", "train_steps"]


@dataclass(frozen=True)
class StepReport:
    """Losses and gradient of one step; losses are those before the update, each times its factor."""

    step: int
    loss: float
    heatmap_loss: float
    offset_loss: float
    gradient_norm: float
    learning_rate: float
    persons: int


class Trainer:
    """A network in training.

    Args:
        model: the network to train, a `build_model` result; moved to `device`.
        recipe: the numbers of the run.
        device: where to compute.
        wrap: makes the module that is called in the forward pass out of `model`; DistributedDataParallel
            where several processes train together.

    Attributes:
        step: finished steps.
        average: the running average of the weights.
    """

    def __init__(
        self,
        model: PoseNetwork,
        recipe: TrainRecipe,
        device: torch.device,
        wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
    ) -> None:
        self.recipe, self.device, self.step = recipe, device, 0
        # Convolutions in channels-last order are faster on CPUs and GPUs alike.
        self.model = model.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = AveragedModel(self.model, recipe.ema_decay)
        self._forward = wrap(self.model)
        self._optimizer = torch.optim.AdamW(
            _parameter_groups(self.model, recipe.weight_decay), lr=recipe.learning_rate, fused=True
        )
        self._persons = 0
        self._buffers = list(self.model.buffers())
        self._buffers_before = [buffer.clone() for buffer in self._buffers]

    def train_step(self, batch: Batch) -> StepReport:
        """One update from one batch.

        Raises:
            TrainingError: the loss or the gradient is not finite, or no batch so far had a labelled person.
                Weights and running statistics are then those of the step before.
        """
        self._check_persons(batch)
        rate = self.recipe.learning_rate_at(self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        # The forward pass already moves the norms' running statistics.
        torch._foreach_copy_(self._buffers_before, self._buffers)
        losses = self._losses(batch.to(self.device))
        losses.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip_norm)
        total, heatmap, offset, gradient = torch.stack(
            [losses.total, losses.heatmap, losses.offset, norm]
        ).tolist()
        if not (math.isfinite(total) and math.isfinite(gradient)):
            torch._foreach_copy_(self._buffers, self._buffers_before)
            self._persons -= batch.persons
            raise _not_finite(self.step, total, gradient, rate)
        self._optimizer.step()
        self.average.update(self.model, self.step)
        report = StepReport(self.step, total, heatmap, offset, gradient, rate, batch.persons)
        self.step += 1
        return report

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain values (safe to load)."""
        return {
            "step": self.step,
            "persons": self._persons,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "rng": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`.

        Raises:
            ConfigurationError: it belongs to a run with another recipe.
        """
        ours = asdict(self.recipe)
        changed = [f"{name} {state['recipe'].get(name)} -> {ours[name]}" for name in ours
                   if state["recipe"].get(name) != ours[name]]  # fmt: skip
        if changed:
            raise ConfigurationError(
                f"the checkpoint at step {state['step']} was made with another recipe "
                f"({'; '.join(changed)}): resume with the same settings, or train into a new place"
            )
        self.step, self._persons = state["step"], state["persons"]
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())

    def _losses(self, batch: Batch) -> Losses:
        recipe = self.recipe
        autocast = recipe.precision == "bfloat16"
        images = self.model.normalise(batch.images.permute(0, 3, 1, 2))
        images = images.contiguous(memory_format=torch.channels_last)
        count = recipe.offset_cells
        flat_cells = None if count is None else flat_cells_to_learn(batch.offset_weight, count)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
            maps = self._forward(images, flat_cells)
        counted = replace(
            batch,
            offset=at_flat_cells(batch.offset, flat_cells),
            offset_weight=at_flat_cells(batch.offset_weight, flat_cells),
        )
        return training_losses(
            maps.heatmap,
            maps.offset,
            counted,
            recipe.heatmap_factor,
            recipe.offset_factor,
            recipe.offset_saturation,
        )

    def _check_persons(self, batch: Batch) -> None:
        self._persons += batch.persons
        if self._persons == 0 and self.step + 1 >= self.recipe.steps_without_persons:
            raise TrainingError(
                f"no labelled person with a centre in the first {self.step + 1} batches: check that "
                "the annotations belong to these images and that persons exceed the smallest trained area"
            )


def _not_finite(step: int, loss: float, gradient_norm: float, rate: float) -> TrainingError:
    return TrainingError(
        f"step {step}: the loss is {loss} and the gradient's norm {gradient_norm} at learning rate "
        f"{rate:.2e}: train into a new place with a lower learning rate, or in float32"
    )


def train_steps(trainer: Trainer, batches: Iterable[Batch], on_step: Callable[[StepReport], None]) -> None:
    """Train on `batches` until they end or the recipe's last step is done; `on_step` sees every report."""
    for batch in batches:
        if trainer.step >= trainer.recipe.total_steps:
            return
        on_step(trainer.train_step(batch))


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights of convolutions, which decay, and the rest (biases, norms, gains), which do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if not is_per_channel(p)], "weight_decay": weight_decay},
        {"params": [p for p in trained if is_per_channel(p)], "weight_decay": 0.0},
    ]
