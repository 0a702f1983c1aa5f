"""The receipt of a committed unit, for tests of what is counted."""

from __future__ import annotations

from pipeline.stages.receipt import Receipt
from posrefine.errors import ImageStatus

RECEIPT = Receipt(
    unit_id="u",
    images={ImageStatus.OK: 9, ImageStatus.CORRUPT: 1},
    persons=20,
    persons_below=5,
    input_bytes=1000,
    output_bytes=100,
    load_s=1.0,
    infer_s=3.0,
    predictor_s=2.5,
    busy_s=2.0,
    commit_s=0.5,
    attempts=1,
    prepared="cpu, float32",
    prepare_s=0.5,
)
