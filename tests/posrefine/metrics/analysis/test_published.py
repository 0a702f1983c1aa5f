"""Published rows are complete enough to stand beside ours."""

from __future__ import annotations

from posrefine.metrics import CocoMetrics, CrowdPoseMetrics
from posrefine.metrics.analysis.published import PUBLISHED, published_rows


def test_rows_use_the_names_of_our_metrics_and_are_shares() -> None:
    fields = {"coco": set(CocoMetrics.model_fields), "crowdpose": set(CrowdPoseMetrics.model_fields)}

    for row in PUBLISHED:
        assert set(row.numbers) <= fields[row.protocol]
        assert all(0 < number < 1 for number in row.numbers.values())
        assert row.source


def test_every_row_is_there_once() -> None:
    keys = [(row.model, row.protocol, row.split, row.scales) for row in PUBLISHED]

    assert len(keys) == len(set(keys))


def test_rows_are_found_by_network_and_protocol() -> None:
    assert {row.numbers["AP"] for row in published_rows("dekr_w32", "crowdpose")} == {0.657, 0.670}
    assert published_rows("posrefine_tiny", "coco") == ()
