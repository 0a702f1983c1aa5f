"""docs/review.md: the figures of its worked example are those that are stored."""

from review_rounds_table import PAGE, with_table


def test_the_figures_of_the_worked_example_are_those_that_are_stored():
    assert with_table(PAGE.read_text()) == PAGE.read_text()
