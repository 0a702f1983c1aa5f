"""Have people look at a run where it matters, and take back what they say.

Exit codes: 0 done, 1 crash or storage, 2 bad input or usage, 5 another process has the output,
75 interrupted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.start import SETTINGS_NOTE, add_command, job_parser, leave, run_job
from pipeline.exit_codes import ExitCode
from pipeline.settings.command_line import settings_given
from pipeline.settings.review import (
    GroundTruthSettings,
    ImportSettings,
    ImportsSettings,
    QueuesSettings,
    ReviewerAgreementSettings,
    SelectSettings,
    UndoSettings,
)
from pipeline.settings.review_tasks import TasksSettings
from pipeline.settings.sources import load_settings
from posrefine.skeletons import SKELETONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code; unexpected errors are raised."""
    return run_job(parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line: `command` names the subcommand, `handler` runs it."""
    top = job_parser("review.py", str(__doc__))
    commands = top.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    add_command(
        *(commands, "select", SelectSettings, _select),
        f"Choose the images of a run that people should look at, each with its reason. {SETTINGS_NOTE}",
    )
    add_command(
        *(commands, "queues", QueuesSettings, _queues),
        "List the queues of images below a run's output, the one that was made last at the end.",
    )
    add_command(
        *(commands, "export", TasksSettings, _export),
        "Write a queue's images as tasks with pre-labels for a labelling tool, a file each reviewer.",
    )
    importing = add_command(
        *(commands, "import", ImportSettings, lambda settings: _import(settings, ())),
        "Take reviewers' answers back, all or none, and publish the tables with them.",
    )
    importing.add_argument(
        "files", nargs="+", metavar="FILE", help="exports of a tool, zips or folders of them"
    )
    importing.set_defaults(
        handler=lambda given: _import(
            load_settings(ImportSettings, settings_given(given, ImportSettings)), given.files
        )
    )
    add_command(
        *(commands, "imports", ImportsSettings, _imports),
        "List what people's corrections of an output are: imports and undos, in order.",
    )
    add_command(
        *(commands, "undo", UndoSettings, _undo),
        "Take corrections back, those of a reviewer or of one import, and publish the tables without them.",
    )
    add_command(
        *(commands, "agreement", ReviewerAgreementSettings, _agreement),
        "Say how far the network and people agree, and people among each other, with intervals. "
        + SETTINGS_NOTE,
    )
    add_command(
        *(commands, "ground-truth", GroundTruthSettings, _ground_truth),
        "Write the corrected images as an annotation file in COCO's form, to score by and to train on.",
    )
    return top


# What a command works with is imported where it runs: help waits for no tables.


def _select(settings: SelectSettings) -> int:
    from pipeline.output.run_output import RunOutput
    from pipeline.review.select import SelectOptions, select_images
    from pipeline.storage import Storage

    storage = Storage()
    options = SelectOptions(
        budget=settings.budget,
        control_share=settings.control_share,
        per_folder=settings.per_folder,
        seed=settings.seed,
        against=None if settings.against is None else RunOutput.at(settings.against, storage),
        distributed=settings.distributed,
    )
    output = RunOutput.at(settings.output, storage, settings.as_of)
    queue, uri = select_images(output, options)
    print("\n".join((*queue.lines(), uri)))
    return ExitCode.COMPLETE


def _queues(settings: QueuesSettings) -> int:
    from pipeline.output.review_queue import list_queues, read_queue
    from pipeline.output.run_output import RunOutput
    from pipeline.storage import Storage

    output = RunOutput.at(settings.output, Storage())
    for queue_id in list_queues(output):
        queue = read_queue(output, queue_id)
        print(queue.record.model_dump_json() if settings.as_json else "\n".join(queue.lines()))
    return ExitCode.COMPLETE


def _export(settings: TasksSettings) -> int:
    from pipeline.output.run_output import RunOutput
    from pipeline.review.formats.pre_labels import TaskFile
    from pipeline.review.queue import read_tasks
    from pipeline.review.sharing import shared_out
    from pipeline.review.write_tasks import write_tasks
    from pipeline.storage import Storage
    from pipeline.storage.uris import normalise_uri

    storage = Storage()
    output = RunOutput.at(settings.output, storage)
    tasks, rows = read_tasks(output, settings.queue, min_score=settings.min_score), output.rows()
    about = TaskFile(
        skeleton=rows.skeleton,
        model=f"{rows.model} {rows.weights_sha256[:8]}",
        min_keypoint_score=-math.inf if settings.min_keypoint_score is None else settings.min_keypoint_score,
        image_root=settings.image_root,
    )
    seen = output.human_rows().reviewers()
    shares = shared_out(tasks, settings.reviewers, settings.overlap, settings.seed, seen)
    asked = {task.sha256 for share in shares.values() for task in share}
    written = write_tasks(shares, settings.tool, normalise_uri(settings.to), storage, about)
    for reason, count in tasks.left_out.items():
        print(f"left out: {count:,} images ({reason})")
    if len(asked) < len(tasks):
        print(f"left out: {len(tasks) - len(asked):,} images (reviewed since; `undo` gives them out again)")
    print("\n".join(written.lines()))
    return ExitCode.COMPLETE


def _import(settings: ImportSettings, files: Sequence[str]) -> int:
    from itertools import chain

    from pipeline.output.run_output import RunOutput
    from pipeline.review.corrections import import_reviews
    from pipeline.review.read_reviews import read_reviews
    from pipeline.storage import Storage

    storage = Storage()
    output = RunOutput.at(settings.output, storage)
    skeleton = SKELETONS[output.require_record().fingerprint.skeleton]
    answers = chain.from_iterable(
        read_reviews(
            storage,
            file,
            skeleton,
            settings.tool,
            reviewer=settings.reviewer,
            may_be_empty=settings.may_be_empty,
        )
        for file in files
    )
    told = import_reviews(output, answers, files, unchanged_is_reviewed=settings.unchanged_is_reviewed)
    print("\n".join(told.lines()))
    return ExitCode.COMPLETE


def _imports(settings: ImportsSettings) -> int:
    from pipeline.output.run_output import RunOutput
    from pipeline.storage import Storage

    people = RunOutput.at(settings.output, Storage()).human_rows()
    log = people.log
    active = {one.digest for one in log.active()}
    if not log.entries:
        print("nothing was imported")
    for entry in log.entries:
        for one in entry.imports:
            state = "" if entry.kind == "undo" or one.digest in active else "; undone since"
            if entry.kind == "import" and one.digest in active and people.files.whole(one) is None:
                state = "; its rows are lost"
            print(
                f"{entry.at:%Y-%m-%d %H:%M}  {entry.kind:<6}  {one.digest[:12]}  {one.reviewer}: "
                f"{one.images:,} images, {one.persons:,} persons{state}"
            )
    return ExitCode.COMPLETE


def _undo(settings: UndoSettings) -> int:
    from pipeline.output.run_output import RunOutput
    from pipeline.review.corrections import undo_reviews
    from pipeline.storage import Storage

    output = RunOutput.at(settings.output, Storage())
    undone = undo_reviews(output, reviewer=settings.reviewer, import_id=settings.import_id)
    print("\n".join(undone.lines()))
    return ExitCode.COMPLETE


def _agreement(settings: ReviewerAgreementSettings) -> int:
    from pipeline.output.run_output import RunOutput
    from pipeline.review.agreement import agreement_of
    from pipeline.review.agreement_text import reviewer_agreement_lines
    from pipeline.storage import Storage

    output = RunOutput.at(settings.output, Storage())
    found = agreement_of(output, settings.queue, draws=settings.draws, seed=settings.seed)
    print(found.model_dump_json(indent=2) if settings.as_json else "\n".join(reviewer_agreement_lines(found)))
    return ExitCode.COMPLETE


def _ground_truth(settings: GroundTruthSettings) -> int:
    from pipeline.output.run_output import RunOutput
    from pipeline.review.ground_truth import write_ground_truth
    from pipeline.storage import Storage

    written = write_ground_truth(RunOutput.at(settings.output, Storage()), settings.to)
    print("\n".join(written.lines()))
    return ExitCode.COMPLETE


if __name__ == "__main__":
    leave(main)
