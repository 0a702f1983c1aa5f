"""Heatmaps and offsets of a batch to its persons, on the device of the maps.

Follows HRNet/DEKR's `aggregate_results`, `pose_nms` and `rescore_valid`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from posrefine.inference.decoding.heat import joint_heat
from posrefine.inference.decoding.nms import close_poses, keep_one_per_group
from posrefine.inference.decoding.proposals import Proposals, centre_proposals
from posrefine.inference.decoding.refinement import drawn_to_heat
from posrefine.inference.decoding.trust import size_trust
from posrefine.inference.decoding.views import ScaleMaps, joint_positions
from posrefine.modeling.score_net import ScoreNet, score_features
from posrefine.skeletons import Skeleton
from posrefine.test_protocols import STRIDE, NmsOrder, RescoreInputs, TestProtocol

__all__ = ["Decoder", "Persons"]


class Persons(NamedTuple):
    """Persons of a batch, for each image by falling score, padded to equal numbers.

    Attributes:
        keypoints: [B, N, K, 2] float32, image px.
        keypoint_scores: [B, N, K] float32.
        scores: [B, N] float32.
        spread_px: [B, N, K] float32, image px.
        found: [B, N] bool, False for padding.
        sound: [B] bool, False for an image whose maps are not finite; its persons are meaningless.
    """

    keypoints: Tensor
    keypoint_scores: Tensor
    scores: Tensor
    spread_px: Tensor
    found: Tensor
    sound: Tensor

    def take(self, index: Tensor) -> Persons:
        """The persons at positions [B, M] of each image, in that order."""
        rows = torch.arange(len(index), device=index.device).unsqueeze(1)
        taken = {name: field[rows, index] for name, field in self._asdict().items() if name != "sound"}
        return self._replace(**taken)


@dataclass(frozen=True)
class Decoder:
    """Decodes heatmaps and offsets: proposals, their keypoints, pose NMS, scores.

    Attributes:
        skeleton: whose joints the maps hold.
        protocol: the test-time switches.
        nms_threshold: pose NMS's distance, in units of the box diagonal.
        score_net: predicts each pose's OKS, which its score is multiplied by or which is its score, as the
            protocol says; None leaves the scores alone.
    """

    skeleton: Skeleton
    protocol: TestProtocol
    nms_threshold: float
    score_net: ScoreNet | None = None

    def __call__(self, maps: Sequence[ScaleMaps], input_hw: tuple[int, int], to_image: Tensor) -> Persons:
        """Decodes a batch.

        Args:
            maps: one entry per test scale, the largest first, scale 1 among them.
            input_hw: height and width of the scale-1 input.
            to_image: [B, 4] float32: scale and shift of x, then of y, from scale-1 input px to image px.
        """
        centres, poses, spread, proposed = self._propose(maps)
        weights, own_trust = self._trust(maps, poses, proposed)
        sampling = self.protocol.heat_sampling
        if self.protocol.draw_to_heat:
            poses = drawn_to_heat(maps, poses, input_hw, sampling, self.skeleton, weights)
        heat = joint_heat(maps, poses, input_hw, sampling, weights)
        in_image = _to_image(poses, to_image)
        # The scale-1 input's short side is the image's.
        short_sides_px = torch.full_like(to_image[:, 0], min(input_hw))
        if self.protocol.rescore_inputs is RescoreInputs.IMAGE_AND_JOINT_SCORES:
            shown = in_image, spread * to_image[:, 0, None, None], short_sides_px * to_image[:, 0]
        else:
            shown = poses, spread, short_sides_px
        joint_scores, scores = self._score(centres.scores, heat, *shown)
        merit = scores * own_trust if self.protocol.nms_order is NmsOrder.SCORE else heat.mean(-1)
        kept = self._suppress(poses, merit, centres.found)
        spread = spread * to_image[:, 0, None, None]
        sound = _finite(poses) & _finite(heat) & _finite(scores)
        for m in maps:
            # Where centres are NaN nobody is proposed; the lowest and highest of a map become NaN with it.
            sound &= _finite(torch.stack(torch.aminmax(m.heatmap[:, -1].flatten(1), dim=1), dim=1))
        persons = Persons(in_image, joint_scores, scores, spread, kept, sound)
        return _best_first(persons, merit, self.protocol.max_persons)

    def _propose(self, maps: Sequence[ScaleMaps]) -> tuple[Proposals, Tensor, Tensor, list[int]]:
        """Proposals of all scales, their poses [B, P, K, 2] and spreads [B, P, K], scale-1 input px.

        Last comes the number of proposals of each scale; these add up to P.
        """
        own = [centre_proposals(m.heatmap[:, -1], self.protocol) for m in maps]
        anchors = torch.cat([p.cells * (STRIDE / m.scale) for p, m in zip(own, maps, strict=True)], dim=1)
        views = [self._views_at(m, anchors) for m in maps]
        # A pose is what its own scale says; the other scales only tell how sure that is.
        counts = [p.cells.shape[1] for p in own]
        poses = [view[:, :, part].mean(1) for view, part in zip(views, _consecutive(counts), strict=True)]
        scores = _comparable_scores(own, maps, self.skeleton.other_scale_weight)
        found = torch.cat([p.found for p in own], dim=1)
        proposals = Proposals(torch.cat([p.cells for p in own], dim=1), scores, found)
        return proposals, torch.cat(poses, dim=1), _spread(torch.cat(views, dim=1)), counts

    def _trust(
        self, maps: Sequence[ScaleMaps], poses: Tensor, proposed: list[int]
    ) -> tuple[Tensor | None, Tensor | float]:
        """Weights of the scales' heatmaps [B, P, scales] or None; the trust in the pose's own scale."""
        if self.protocol.known_size_px is None:
            return None, 1.0
        trust = size_trust(poses, tuple(m.scale for m in maps), self.protocol.known_size_px)
        own = [trust[:, part, index] for index, part in enumerate(_consecutive(proposed))]
        return trust / trust.sum(-1, keepdim=True), torch.cat(own, dim=1)

    def _views_at(self, maps: ScaleMaps, anchors: Tensor) -> Tensor:
        """[B, V, P, K, 2] scale-1 input px: keypoints by each view of a scale, read next to anchors."""
        height, width = maps.heatmap.shape[-2:]
        x, y = (anchors * (maps.scale / STRIDE)).round().long().unbind(-1)
        cells = torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=-1)
        return joint_positions(maps, cells, self.skeleton, self.protocol) * (STRIDE / maps.scale)

    def _suppress(self, poses: Tensor, merit: Tensor, found: Tensor) -> Tensor:
        """[B, P] bool: the poses that pose NMS keeps."""
        groups = close_poses(poses, self.nms_threshold, self.skeleton.close_joints)
        if self.protocol.nms_order is NmsOrder.PROPOSALS:
            return keep_one_per_group(groups, merit, found)
        order = merit.argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(order), device=order.device)[:, None]
        groups = groups[rows[:, :, None], order[:, :, None], order[:, None, :]]
        kept = keep_one_per_group(groups, merit.gather(1, order), found.gather(1, order))
        return torch.zeros_like(found).scatter(1, order, kept)

    def _score(
        self,
        centre_scores: Tensor,
        heat: Tensor,
        keypoints: Tensor,
        spread_px: Tensor,
        short_sides_px: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Joint scores [B, P, K] and persons' scores [B, P]; all px are those of the short sides [B]."""
        joint_scores = centre_scores.unsqueeze(-1) * heat
        scores = joint_scores.mean(-1)
        if self.score_net is None:
            return joint_scores, scores
        if self.protocol.rescore_inputs is RescoreInputs.IMAGE_AND_JOINT_SCORES:
            oks = self._predicted_oks(keypoints, joint_scores, spread_px, short_sides_px)
        else:
            oks = self._predicted_oks(keypoints, heat, spread_px, short_sides_px)
            joint_scores = joint_scores * oks.unsqueeze(-1)
        return joint_scores, oks.clamp(0, 1) if self.protocol.oks_is_score else scores * oks

    def _predicted_oks(
        self, keypoints: Tensor, keypoint_scores: Tensor, spread_px: Tensor, short_sides_px: Tensor
    ) -> Tensor:
        """[B, P]."""
        assert self.score_net is not None
        features = score_features(
            keypoints.flatten(0, 1),
            keypoint_scores.flatten(0, 1),
            spread_px.flatten(0, 1),
            short_sides_px.repeat_interleave(keypoints.shape[1]),
            self.skeleton,
        )
        oks: Tensor = self.score_net(features)
        return oks.view(keypoints.shape[:2])


def _consecutive(counts: Sequence[int]) -> list[slice]:
    """Slices of these lengths, one after the other."""
    return [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]


def _comparable_scores(own: Sequence[Proposals], maps: Sequence[ScaleMaps], weight: float) -> Tensor:
    """[B, P]: centre scores of other scales brought to scale 1's highest, and weighed less."""
    base = next(i for i, m in enumerate(maps) if m.scale == 1.0)
    top = _highest(own[base])
    return torch.cat(
        [p.scores if i == base else p.scores / _highest(p) * top * weight for i, p in enumerate(own)], dim=1
    )


def _highest(proposals: Proposals) -> Tensor:
    """[B, 1] the highest score, 1 where there is no proposal."""
    first = proposals.scores[:, :1]
    return torch.where(proposals.found[:, :1], first, torch.ones_like(first))


def _spread(views: Tensor) -> Tensor:
    """[B, V, P, K, 2] to [B, P, K]: root mean square distance of the views from their mean; NaN for one."""
    if views.shape[1] == 1:
        return torch.full_like(views[:, 0, ..., 0], torch.nan)
    deviation = views - views.mean(1, keepdim=True)
    return deviation.square().sum(-1).mean(1).sqrt()


def _finite(values: Tensor) -> Tensor:
    """[B, ...] to [B] bool: whether all numbers of an image are."""
    return values.isfinite().flatten(1).all(1)


def _to_image(points: Tensor, to_image: Tensor) -> Tensor:
    """[B, P, K, 2] scale-1 input px to image px."""
    scale, shift = to_image[:, None, None, 0::2], to_image[:, None, None, 1::2]
    return points * scale + shift


def _best_first(persons: Persons, merit: Tensor, limit: int) -> Persons:
    """At most `limit` persons, those of the highest merit, in the order of their scores."""
    merit = torch.where(persons.found, merit, -torch.inf)
    # Sorted, since several predicted OKS of 0 are usual, and the highest k of equals would be any.
    best = persons.take(merit.argsort(dim=1, descending=True, stable=True)[:, :limit])
    scores = torch.where(best.found, best.scores, -torch.inf)
    return best.take(scores.argsort(dim=1, descending=True, stable=True))
