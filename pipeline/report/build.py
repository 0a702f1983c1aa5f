"""Puts a report together: reads the run, picks and draws images, renders the page, writes it by one put."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.evaluation.benchmark import Benchmark, Scored
from pipeline.evaluation.result import Evaluation
from pipeline.inputs.single_image import ImageReader
from pipeline.output.measures import MEASURES
from pipeline.output.row_summary import SUMMARY_COLUMNS, SUMMARY_FIELDS, RowSummary
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput
from pipeline.report.figures import histogram, interval_plot, precision_recall, reliability
from pipeline.report.gallery import PERSON_BINS, Survey, survey_images
from pipeline.report.numbers import measured, number_rows
from pipeline.report.page import render_page, require_templates
from pipeline.report.pictures import Picture, PictureMaker
from pipeline.report.queue import QueueView, last_queue
from pipeline.report.run_facts import RunFacts, read_run_facts
from pipeline.report.warnings import Warned, evaluation_warnings, run_warnings
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri, normalise_uri

__all__ = ["report_evaluation", "report_run"]

GALLERY_IMAGES = 6
"""Images in each group of the gallery."""

_SAMPLE_IMAGES = 20_000

_SCORE_TICKS = [(float(4 * index), f"{index / 5:.1f}") for index in range(6)]
_PERSON_TICKS = [(place + 0.5, words) for place, words in enumerate(PERSON_BINS)]


def report_evaluation(
    scored: Scored, benchmark: Benchmark, output: str, *, gallery_images: int = GALLERY_IMAGES
) -> str:
    """Write the report of an evaluation to `<output>/report/index.html`.

    Where the predictions are a run, its images are drawn; of a results file there are no images to draw.

    Args:
        scored: what became of the predictions; of a run with a summary of its rows, which nobody reads again.
        benchmark: that scored them.
        output: folder or bucket prefix.
        gallery_images: in each group of the gallery; 0 for none.

    Returns:
        The page's address.

    Raises:
        ConfigurationError: jinja2 is missing.
        StorageError: the page cannot be written. Images that cannot be read are notes on the page.
    """
    require_templates()
    evaluation, run, storage = scored.evaluation, scored.run, benchmark.storage
    facts, gallery, survey, queue = None, _no_images_of_results_files(), None, None
    if run is not None and scored.row_summary is not None:
        found = RunOutput.of_rows(run)
        facts = read_run_facts(found, run, scored.row_summary, run.min_score)
        survey, gallery = _survey(run, scored.row_summary, benchmark, gallery_images, run.min_score)
        queue = last_queue(found, run, _maker(run, run.min_score), gallery_images)
    return _write(
        output,
        storage,
        title=f"Pose evaluation of {evaluation.model or 'predictions'} on {_benchmark(evaluation)}",
        warned=evaluation_warnings(evaluation, run),
        evaluation=_EvaluationView(evaluation),
        facts=facts,
        survey=None if survey is None else _SurveyView(survey),
        queue=queue,
        gallery=gallery,
    )


def report_run(
    run: str,
    output: str,
    storage: Storage,
    *,
    gallery_images: int = GALLERY_IMAGES,
    min_score: float | None = None,
    as_of: int | None = None,
) -> str:
    """Write the report of a run without ground truth to `<output>/report/index.html`.

    Args:
        run: its output; it may be unfinished.
        output: folder or bucket prefix, often the same.
        storage: of everything.
        gallery_images: in each group of the gallery.
        min_score: from which persons are counted and drawn; None for the run's own.
        as_of: generation of the run; None for its last one.

    Returns:
        The page's address.

    Raises:
        ConfigurationError: jinja2 is missing, or there is no run with a finished unit.
        StorageError: the run cannot be read, or the page cannot be written.
    """
    require_templates()
    rows = RunOutput.rows_at(run, storage, as_of)
    found = RunOutput.of_rows(rows)
    summary = _summarised(rows)
    least = rows.min_score if min_score is None else min_score
    facts = read_run_facts(found, rows, summary, least)
    survey, gallery = _survey(rows, summary, None, gallery_images, least)
    return _write(
        output,
        storage,
        title=f"Poses found by {rows.model}",
        warned=run_warnings(facts),
        evaluation=None,
        facts=facts,
        survey=_SurveyView(survey),
        queue=last_queue(found, rows, _maker(rows, least), gallery_images),
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


def _summarised(rows: RunRows) -> RowSummary:
    """At every file of a run, each being read once."""
    sampled = {file.uri for file in rows.sample(_SAMPLE_IMAGES).files}
    found = zip(rows.files, rows.persons(SUMMARY_COLUMNS, SUMMARY_FIELDS), strict=True)
    joints = rows.skeleton.num_joints
    return RowSummary.merge(
        RowSummary.of(content, joints, whole=file.uri in sampled) for file, content in found
    )


def _survey(
    rows: RunRows, summary: RowSummary, benchmark: Benchmark | None, gallery_images: int, min_score: float
) -> tuple[Survey, _Gallery]:
    survey = survey_images(summary.sample, benchmark, size=gallery_images, min_score=min_score)
    maker = _maker(rows, min_score)
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


def _maker(rows: RunRows, min_score: float) -> PictureMaker:
    return PictureMaker(ImageReader.under(rows.settings, rows.storage), rows.skeleton, min_score)


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
    queue: QueueView | None,
    gallery: _Gallery,
) -> str:
    page = render_page(
        title=title,
        warned=warned,
        evaluation=evaluation,
        facts=facts,
        data_set=None if facts is None else facts.data_set,
        survey=survey,
        queue=queue,
        measures=MEASURES,
        gallery=gallery,
        made_at=datetime.now(UTC),
    )
    uri = join_uri(normalise_uri(output), "report", "index.html")
    storage.put(uri, page)
    return uri
