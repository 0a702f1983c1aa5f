"""Publishing a training: weights, metrics and the model card."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from pipeline.model.stored_weights import load_stored_weights
from pipeline.settings.training import training_command
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri
from pipeline.training.job import TrainingJob

__all__ = ["PublishedModel", "publish_model"]

WEIGHTS_NAME, CARD_NAME, METRICS_NAME = "model.safetensors", "model_card.md", "metrics.json"


@dataclass(frozen=True)
class PublishedModel:
    """Addresses of a training's weights and card, and its metrics on the held-out images.

    Attributes:
        weights: address of the safetensors file.
        sha256: hex digest of its bytes.
        card: address of the model card.
        metrics: the protocol's numbers of the published weights; empty without held-out images.
    """

    weights: str
    sha256: str
    card: str
    metrics: dict[str, float]


def publish_model(job: TrainingJob, state: dict[str, Any], storage: Storage) -> PublishedModel:
    """Write the averaged weights of a finished training, their figures and their card."""
    settings = job.settings
    best = state.get("best")
    chosen = best if settings.publish == "best" and best is not None else state
    job.model.load_state_dict(chosen["average"])
    sha256 = job.write_weights(job.model, chosen["step"], WEIGHTS_NAME)
    weights, card = join_uri(settings.output, WEIGHTS_NAME), join_uri(settings.output, CARD_NAME)
    # The figures are those of the file, whatever it was rounded to.
    load_stored_weights(job.model, weights, storage)
    size_px = settings.validation_size(settings.input_size)
    metrics = job.validated(job.model, size_px)
    storage.put(join_uri(settings.output, METRICS_NAME), json.dumps(metrics, indent=2).encode())
    storage.put(card, _card(job, chosen["step"], sha256, size_px, metrics).encode())
    return PublishedModel(weights, sha256, card, metrics)


def _card(job: TrainingJob, steps: int, sha256: str, size_px: int, metrics: dict[str, float]) -> str:
    settings = job.settings
    parameters = sum(parameter.numel() for parameter in job.model.parameters())
    recipe = {
        **asdict(job.recipe),
        **asdict(settings.augmentation()),
        **asdict(settings.photometry()),
        **asdict(settings.targets()),
    }
    figures = [f"| {name} | {value:.4f} |" for name, value in metrics.items()]
    held_out = "; ".join(f"{name}: {len(images.images)}" for name, images in job.validation.items())
    mirrored = "with mirrored views" if settings.val_flip else "no mirrored views"
    tested = (
        f"One scale, {mirrored}, input {size_px} px, protocol {settings.protocol}, on held-out images "
        f"({held_out})"
    )
    return "\n".join(
        [
            f"# {settings.model}, {settings.skeleton}",
            "",
            f"- Weights: `{WEIGHTS_NAME}`, sha256 `{sha256}`, {parameters:,} parameters",
            f"- Licence: {settings.licence}",
            f"- Data: {job.data}",
            *([f"- Note: {job.note}"] if job.note is not None else []),
            f"- Started from: {settings.weights or 'random weights'}",
            f"- Trained for {steps:,} of {job.recipe.total_steps:,} steps; the weights are a running average",
            f"- Made {datetime.now(UTC):%Y-%m-%d} with torch {torch.__version__} on {platform.machine()}",
            "",
            "## Figures",
            "",
            *(
                [tested, "", "| metric | value |", "| --- | --- |", *figures]
                if figures
                else ["No images were held out, so nothing is known about the quality of these weights."]
            ),
            "",
            "## Recipe",
            "",
            "```sh",
            training_command(settings),
            "```",
            "",
            "| setting | value |",
            "| --- | --- |",
            *(f"| {name} | {value} |" for name, value in recipe.items()),
            "",
        ]
    )  # fmt: skip
