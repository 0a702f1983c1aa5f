from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.training import small_recipe, small_stream, small_trainer

from posrefine.errors import ConfigurationError, TrainingError
from posrefine.training.checkpoint import load_checkpoint, save_checkpoint
from posrefine.training.loop import _parameter_groups, train_steps


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize("cells", [pytest.param(None, marks=pytest.mark.slow), 40])
def test_a_run_interrupted_and_resumed_ends_with_the_same_weights(tmp_path, cells: int | None):
    recipe = small_recipe(offset_cells=cells)
    stream = small_stream(recipe)
    whole = small_trainer(recipe)
    train_steps(whole, map(stream.__getitem__, range(4)), lambda report: None)

    first = small_trainer(recipe)
    for step in range(2):
        first.train_step(stream[step])
    save_checkpoint(first.state(), tmp_path / "checkpoint.pt")
    second = small_trainer(recipe, seed=7)
    second.restore(load_checkpoint(tmp_path / "checkpoint.pt"))
    train_steps(second, map(stream.__getitem__, range(second.step, 4)), lambda report: None)

    assert second.step == whole.step == 4
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(second)[name], value, rtol=0, atol=0)
    averages = whole.average.model.state_dict()
    for name, value in second.average.model.state_dict().items():
        torch.testing.assert_close(value, averages[name], rtol=0, atol=0)


@pytest.mark.parametrize("cells", [None, 100])
def test_learning_from_one_batch_lowers_its_loss(cells: int | None):
    recipe = small_recipe(total_steps=100, offset_cells=cells)
    trainer, batch = small_trainer(recipe), small_stream(recipe)[0]
    losses = [trainer.train_step(batch).loss for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_loss_that_is_not_finite_stops_and_leaves_weights_and_running_statistics_alone():
    recipe = small_recipe()
    trainer, batch = small_trainer(recipe), small_stream(recipe)[0]
    trainer.train_step(batch)
    before = weights(trainer)
    poisoned = replace(batch, heatmap=torch.full_like(batch.heatmap, float("nan")))
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan .* lower learning rate"):
        trainer.train_step(poisoned)
    assert trainer.step == 1
    for name, value in weights(trainer).items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_training_without_any_labelled_person_stops():
    recipe = small_recipe(steps_without_persons=2)
    stream = small_stream(recipe, persons=0)
    with pytest.raises(TrainingError, match="no labelled person with a centre in the first 2 batches"):
        train_steps(small_trainer(recipe), map(stream.__getitem__, range(4)), lambda report: None)


def test_a_checkpoint_of_another_recipe_is_refused_with_the_difference():
    state = small_trainer(small_recipe()).state()
    other = small_trainer(small_recipe(learning_rate=5e-4))
    with pytest.raises(ConfigurationError, match=r"learning_rate 0\.001 -> 0\.0005"):
        other.restore(state)


def test_long_gradients_are_clipped_and_the_schedule_reaches_the_optimiser():
    recipe = small_recipe(gradient_clip_norm=1e-12, schedule="cosine", warmup_steps=2)
    trainer = small_trainer(recipe)
    batch = small_stream(recipe)[0]
    first, second = trainer.train_step(batch), trainer.train_step(batch)
    assert first.gradient_norm > 1e-6
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])
    assert gradient.norm() <= 1.01e-12
    assert (first.learning_rate, second.learning_rate) == (
        recipe.learning_rate_at(0),
        recipe.learning_rate_at(1),
    )


def test_bfloat16_steps_stay_close_to_float32_steps():
    losses = []
    for precision in ("float32", "bfloat16"):
        recipe = small_recipe(precision=precision)
        losses.append(small_trainer(recipe).train_step(small_stream(recipe)[0]).loss)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_weights_of_convolutions_decay_and_what_is_one_number_a_channel_does_not():
    model = small_trainer(small_recipe()).model
    decaying, others = _parameter_groups(model, 0.01)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    assert {names[p].rpartition(".")[2] for p in decaying["params"]} == {"weight"}
    kept = {names[p] for p in others["params"]}
    assert any(name.endswith(".gain.weight") for name in kept)
    assert {name for name in names.values() if name.endswith(("bias", ".gain.weight"))} <= kept
    assert len(decaying["params"]) + len(others["params"]) == len(names)
