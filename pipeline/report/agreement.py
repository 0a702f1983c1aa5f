"""The page about two outputs of the same images: where they agree, and the images on which they do not."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from pipeline.evaluation.compare_outputs import ComparedOutputs, DisputedImage
from pipeline.evaluation.output_agreement_text import estimate_words, left_out_words
from pipeline.inputs.single_image import ImageReader
from pipeline.report.gallery import Pick
from pipeline.report.page import render_page
from pipeline.report.pictures import PictureMaker
from pipeline.report.quality import JudgedImage
from pipeline.storage.uris import join_uri, normalise_uri

__all__ = ["report_agreement"]


def report_agreement(agreed: ComparedOutputs, output: str) -> str:
    """Write `<output>/report/index.html`, and return its address.

    Raises:
        ConfigurationError: jinja2 is missing.
        StorageError: the page cannot be written. Images that cannot be read are notes on the page.
    """
    rows = agreed.rows
    # Those who do not count were left out before.
    maker = PictureMaker(ImageReader.under(rows.settings, rows.storage), rows.skeleton, -np.inf)
    page = render_page(
        "agreement",
        title="How two outputs agree",
        agreement=agreed.agreement,
        left_out=left_out_words(agreed.agreement),
        shown=estimate_words,
        pictures=[maker.make(_pick(disputed)) for disputed in agreed.disputed],
        made_at=datetime.now(UTC),
    )
    uri = join_uri(normalise_uri(output), "report", "index.html")
    rows.storage.put(uri, page)
    return uri


def _pick(disputed: DisputedImage) -> Pick:
    """The persons of a in colour, those of b in white."""
    other, image = disputed.other, disputed.image
    white = JudgedImage(
        image=image,
        persons=len(other),
        mean_oks=0.0,
        keypoints=other.keypoints.astype(np.float64),
        labelled=np.ones(other.keypoints.shape[:2], bool),
    )
    reasons = []
    for name, lonely in (("a", disputed.only_a), ("b", disputed.only_b)):
        if lonely:
            reasons.append(f"{lonely} that only {name} has")
    if disputed.lost >= 0.005:
        reasons.append(f"pairs {disputed.lost:.2f} OKS short of the same")
    return Pick(image, ", ".join(reasons) or "pairs a hair apart", truth=white)
