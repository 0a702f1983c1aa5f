"""docs/review.md: the figures of its worked example, and their drawing, are those that are stored."""

import json

from review_rounds_table import DRAWING, PAGE, RESULT, drawing, with_table


def test_the_figures_of_the_worked_example_are_those_that_are_stored():
    assert with_table(PAGE.read_text()) == PAGE.read_text()


def test_the_curve_of_the_worked_example_is_drawn_from_what_is_stored():
    assert drawing(json.loads(RESULT.read_text())) == DRAWING.read_text()
