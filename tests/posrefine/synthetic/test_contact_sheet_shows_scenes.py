from __future__ import annotations

import numpy as np

from posrefine.skeletons import CROWDPOSE
from posrefine.synthetic import TRAIN, contact_sheet, render_scene


def test_scenes_lie_in_a_grid():
    scenes = [render_scene(seed, TRAIN) for seed in range(3)]
    sheet = contact_sheet(scenes, columns=2, tile_px=160)
    assert sheet.shape == (2 * 160 + 4, 2 * 160 + 4, 3)
    assert sheet.dtype == np.uint8


def test_joints_are_drawn_only_where_asked():
    scenes = [render_scene(seed, TRAIN) for seed in range(2)]
    plain = contact_sheet(scenes, columns=2, tile_px=320)
    drawn = contact_sheet(scenes, columns=2, tile_px=320, overlay=[1], skeleton=CROWDPOSE)
    np.testing.assert_array_equal(plain[:, :320], drawn[:, :320])
    assert (plain[:, 324:] != drawn[:, 324:]).any()
