"""What a training leaves behind: weights, and a card that says what they are made of."""

from __future__ import annotations

import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from pipeline.storage import Storage
from pipeline.training_settings import training_command
from pipeline.training_worker import TrainingJob
from pipeline.uris import join_uri
from posrefine.weights import load_weights, save_weights

__all__ = ["PublishedModel", "publish_model"]

RENDERED_NOTE = "these weights have met rendered people alone: rely on none of their poses in photographs"

WEIGHTS_NAME, CARD_NAME, METRICS_NAME = "model.safetensors", "model_card.md", "metrics.json"


@dataclass(frozen=True)
class PublishedModel:
    """Where the result of a training is, and how good it was on the held-out images.

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
    model, settings = job.model, job.settings
    model.load_state_dict(state["average"])
    metadata = {
        "variant": settings.model,
        "skeleton": settings.skeleton,
        "protocol": settings.protocol,
        "licence": settings.licence,
        "data": _data(job),
        "steps": str(state["step"]),
    }
    if settings.images is None:
        metadata["note"] = RENDERED_NOTE
    weights, card = join_uri(settings.output, WEIGHTS_NAME), join_uri(settings.output, CARD_NAME)
    with tempfile.TemporaryDirectory(prefix="posrefine-weights-") as folder:
        path = Path(folder) / WEIGHTS_NAME
        sha256 = save_weights(model, path, metadata, stored_as=getattr(torch, settings.stored_as))
        storage.put(weights, path.read_bytes())
        # The figures are those of the file, whatever it was rounded to.
        load_weights(model, path)
    size_px = settings.validation_size(settings.input_size)
    metrics = job.validated(model, size_px)
    storage.put(join_uri(settings.output, METRICS_NAME), json.dumps(metrics, indent=2).encode())
    storage.put(card, _card(job, state["step"], sha256, size_px, metrics).encode())
    return PublishedModel(weights, sha256, card, metrics)


def _data(job: TrainingJob) -> str:
    settings = job.settings
    if settings.images is None:
        return f"{len(job.source)} rendered scenes"
    return f"{len(job.source)} images of {settings.images}, labelled by {settings.annotations}"


def _card(job: TrainingJob, steps: int, sha256: str, size_px: int, metrics: dict[str, float]) -> str:
    settings = job.settings
    parameters = sum(parameter.numel() for parameter in job.model.parameters())
    recipe = {**asdict(job.recipe), **asdict(settings.augmentation()), **asdict(settings.targets())}
    figures = [f"| {name} | {value:.4f} |" for name, value in metrics.items()]
    held_out = settings.val_images or "rendered scenes of seeds that were not trained on"
    tested = f"One scale, no mirrored views, input {size_px} px, protocol {settings.protocol}, on {held_out}"
    return "\n".join(
        [
            f"# {settings.model}, {settings.skeleton}",
            "",
            f"- Weights: `{WEIGHTS_NAME}`, sha256 `{sha256}`, {parameters:,} parameters",
            f"- Licence: {settings.licence}",
            f"- Data: {_data(job)}",
            *([f"- Note: {RENDERED_NOTE}"] if settings.images is None else []),
            f"- Started from: {settings.weights or 'random weights'}",
            f"- Trained for {steps:,} steps; the weights are a running average",
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
