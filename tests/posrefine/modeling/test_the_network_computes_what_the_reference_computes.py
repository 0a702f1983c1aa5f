import numpy as np
import pytest
import torch
from support.shared import load_golden, stand_in_fill

from posrefine.build import build_model
from posrefine.modeling.network import PoseNetwork
from posrefine.skeletons import SKELETONS

# The golden maps are float32 too: another order of summation moves them by about 1e-6 of their spread.
TOLERANCE_OF_STD = 1e-4


def reference_input(golden: dict[str, np.ndarray]) -> torch.Tensor:
    generator = np.random.Generator(np.random.PCG64(int(golden["seed"])))
    return torch.from_numpy(generator.standard_normal(tuple(golden["shape"])).astype(np.float32))


def filled(name: str, skeleton: str) -> PoseNetwork:
    return stand_in_fill(build_model(name, skeleton=SKELETONS[skeleton])).eval()


@pytest.mark.parametrize(
    ("name", "skeleton"), [("dekr_w32", "coco"), ("dekr_w32", "crowdpose"), ("dekr_w48", "coco")]
)
def test_maps_equal_the_reference_code(name, skeleton):
    golden = load_golden(f"forward_{name}_{skeleton}")
    with torch.inference_mode():
        maps = filled(name, skeleton)(reference_input(golden))
    for found, wanted in ((maps.heatmap, golden["heatmap"]), (maps.offset, golden["offset"])):
        assert np.abs(found.numpy() - wanted).max() < TOLERANCE_OF_STD * wanted.std()
