"""OKS evaluation by the rules of COCO and CrowdPose, in parts that can be matched apart and merged once."""

from posrefine.metrics.accumulate import Curves, accumulate
from posrefine.metrics.detections import DetectionsBuilder
from posrefine.metrics.findings import Finding
from posrefine.metrics.ground_truth import GroundTruthBuilder
from posrefine.metrics.match_table import MatchTable, match_images
from posrefine.metrics.oks import object_keypoint_similarity
from posrefine.metrics.oks_rules import OKS_RULES, OksRules, oks_rules
from posrefine.metrics.persons import Detections, GroundTruth
from posrefine.metrics.results import CocoMetrics, CrowdPoseMetrics
from posrefine.metrics.summary import metrics_of

__all__ = [
    "OKS_RULES",
    "CocoMetrics",
    "CrowdPoseMetrics",
    "Curves",
    "Detections",
    "DetectionsBuilder",
    "Finding",
    "GroundTruth",
    "GroundTruthBuilder",
    "MatchTable",
    "OksRules",
    "accumulate",
    "match_images",
    "metrics_of",
    "object_keypoint_similarity",
    "oks_rules",
]
