"""The line that tells where a training stands."""

from __future__ import annotations

from dataclasses import replace

from pipeline.training.progress import TrainingStanding, progress_line

STANDING = TrainingStanding(step=1_250, total_steps=5_000, batch_size=32, views_per_s=64.04, loss=0.0125)


def test_the_line_has_steps_speed_loss_and_the_time_that_the_other_steps_take():
    line = str(progress_line(STANDING))
    assert line == "25% · 1,250 of 5,000 steps · 64.0 views/s · loss 0.0125 · 0:31:14 left"


def test_the_last_ap_is_told_once_there_is_one():
    assert str(progress_line(replace(STANDING, ap=0.2512))).endswith(" left · AP 0.251")


def test_before_the_first_row_of_the_log_the_line_says_so():
    assert str(progress_line(None)) == "training: no step logged yet"
