"""Puts a report together: reads the run, picks and draws images, renders the page, writes it by one put."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.evaluation import Evaluation
from pipeline.ground_truth import Annotations, read_annotations
from pipeline.report.figures import histogram, interval_plot, precision_recall, reliability
from pipeline.report.gallery import Survey, survey_run
from pipeline.report.numbers import measured, number_rows
from pipeline.report.page import render_page, require_templates
from pipeline.report.pictures import Picture, PictureMaker
from pipeline.report.run_facts import RunFacts, read_run_facts
from pipeline.report.warnings import Warned, evaluation_warnings, run_warnings
from pipeline.run_rows import RunRows, open_run_rows
from pipeline.single_image import ImageReader
from pipeline.storage import Storage
from pipeline.uris import join_uri, normalise_uri
from posrefine.metrics import Protocol, protocol_named

__all__ = ["report_evaluation", "report_run"]

GALLERY_IMAGES = 6
"""Images in each group of the gallery."""

_SCORE_TICKS = [(float(4 * index), f"{index / 5:.1f}") for index in range(6)]
_PERSON_TICKS = [(number + 0.5, str(number) if number < 10 else "10+") for number in range(11)]


def report_evaluation(
    evaluation: Evaluation, output: str, storage: Storage, *, gallery_images: int = GALLERY_IMAGES
) -> str:
    """Write the report of an evaluation to `<output>/report/index.html`.

    Where the predictions are a run, its images are drawn; of a results file there are no images to draw.

    Args:
        evaluation: its result; the predictions and annotations that it names are read again.
        output: folder or bucket prefix.
        storage: of everything.
        gallery_images: in each group of the gallery; 0 for none.

    Returns:
        The page's address.

    Raises:
        ConfigurationError: jinja2 is missing, or predictions or annotations are not there any more.
        StorageError: predictions or annotations cannot be read, or the page cannot be written. Images that
            cannot be read are notes on the page.
    """
    require_templates()
    rows = None
    if not normalise_uri(evaluation.predictions).endswith(".json"):
        rows = open_run_rows(evaluation.predictions, storage)
    facts, gallery, survey = None, _no_images_of_results_files(), None
    if rows is not None:
        protocol = protocol_named(evaluation.protocol)
        annotations = read_annotations(storage, evaluation.annotations, protocol)
        facts = read_run_facts(rows, storage)
        survey, gallery = _survey(rows, storage, annotations, protocol, gallery_images)
    return _write(
        output,
        storage,
        title=f"Pose evaluation of {evaluation.model or 'predictions'} on {_benchmark(evaluation)}",
        warned=evaluation_warnings(evaluation, rows),
        evaluation=_EvaluationView(evaluation),
        facts=facts,
        survey=None if survey is None else _SurveyView(survey),
        gallery=gallery,
    )


def report_run(run: str, output: str, storage: Storage, *, gallery_images: int = GALLERY_IMAGES) -> str:
    """Write the report of a run without ground truth to `<output>/report/index.html`.

    Args:
        run: its output; it may be unfinished.
        output: folder or bucket prefix, often the same.
        storage: of everything.
        gallery_images: in each group of the gallery.

    Returns:
        The page's address.

    Raises:
        ConfigurationError: jinja2 is missing, or there is no run with a finished unit.
        StorageError: the run cannot be read, or the page cannot be written.
    """
    require_templates()
    rows = open_run_rows(run, storage)
    facts = read_run_facts(rows, storage)
    survey, gallery = _survey(rows, storage, None, None, gallery_images)
    return _write(
        output,
        storage,
        title=f"Poses found by {rows.model}",
        warned=run_warnings(facts),
        evaluation=None,
        facts=facts,
        survey=_SurveyView(survey),
        gallery=gallery,
    )


@dataclass(frozen=True)
class _PictureGroup:
    title: str
    explanation: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class _Gallery:
    """Groups of pictures; `note` says why there are none, or out of how many images they were picked."""

    groups: tuple[_PictureGroup, ...]
    note: str


def _no_images_of_results_files() -> _Gallery:
    return _Gallery(
        (),
        "There are no images here, because the predictions are a results file, which does not say where its "
        "images lie. Evaluate the output of a run to see its best, worst and most disputed images.",
    )


def _survey(
    rows: RunRows,
    storage: Storage,
    annotations: Annotations | None,
    protocol: Protocol | None,
    gallery_images: int,
) -> tuple[Survey, _Gallery]:
    survey = survey_run(rows, storage, annotations, protocol, size=gallery_images)
    maker = PictureMaker(ImageReader.of_run(rows, storage), rows.skeleton)
    groups = tuple(
        _PictureGroup(group.title, group.explanation, tuple(maker.make(pick) for pick in group.picks))
        for group in survey.groups
    )
    note = f"Picked among {survey.images:,} images."
    if gallery_images == 0:
        note = "No images were asked for."
    elif not groups:
        note = f"There is nothing to show: of {survey.images:,} images none has poses."
    return survey, _Gallery(groups, note)


def _benchmark(evaluation: Evaluation) -> str:
    return {"coco": "COCO", "crowdpose": "CrowdPose"}[evaluation.protocol]


class _EvaluationView:
    """An evaluation as the template wants it."""

    def __init__(self, evaluation: Evaluation) -> None:
        self.result = evaluation
        self.diagnosis = evaluation.diagnosis
        self.benchmark = _benchmark(evaluation)
        self.numbers = number_rows(evaluation)
        self.own_columns = 1 + sum(
            part is not None for part in (evaluation.diagnosis, evaluation.numbers_without_train_overlap)
        )
        self.interval_plot = interval_plot("AP", measured(evaluation)) if measured(evaluation) else ""
        if evaluation.diagnosis is not None:
            curves = evaluation.diagnosis.precision_recall
            self.precision_recall = precision_recall(curves)
            self.areas = [
                (oks, sum(row) / len(row))
                for oks, row in zip(curves.oks_thresholds, curves.precision, strict=True)
            ]
            self.reliability = reliability(evaluation.diagnosis.calibration)


class _SurveyView:
    """A survey as the template wants it."""

    def __init__(self, survey: Survey) -> None:
        self.images = survey.images
        self.scores = histogram(survey.scores, _SCORE_TICKS, "score", "persons")
        self.persons = histogram(survey.persons, _PERSON_TICKS, "persons in an image", "images")


def _write(
    output: str,
    storage: Storage,
    *,
    title: str,
    warned: tuple[Warned, ...],
    evaluation: _EvaluationView | None,
    facts: RunFacts | None,
    survey: _SurveyView | None,
    gallery: _Gallery,
) -> str:
    page = render_page(
        title=title,
        warned=warned,
        evaluation=evaluation,
        facts=facts,
        survey=survey,
        gallery=gallery,
        made_at=datetime.now(UTC),
    )
    uri = join_uri(normalise_uri(output), "report", "index.html")
    storage.put(uri, page)
    return uri
