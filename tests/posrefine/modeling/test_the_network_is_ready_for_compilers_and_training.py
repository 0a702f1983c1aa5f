import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.export import Dim, export

from posrefine.build import build_model
from posrefine.modeling.network import PoseMaps, PoseNetwork, enlarged


@pytest.fixture
def tiny() -> PoseNetwork:
    return build_model("posrefine_tiny").eval()


def assert_same_maps(found: PoseMaps, wanted: PoseMaps) -> None:
    for field in PoseMaps._fields:
        torch.testing.assert_close(getattr(found, field), getattr(wanted, field), atol=1e-5, rtol=1e-4)


def test_one_exported_program_serves_any_batch_and_size_also_from_a_file(tiny, tmp_path):
    batch, rows, columns = (Dim(name, min=1, max=64) for name in ("batch", "rows", "columns"))
    exported = export(
        tiny, (torch.randn(2, 3, 64, 96),), dynamic_shapes=({0: batch, 2: 32 * rows, 3: 32 * columns},)
    )
    torch.export.save(exported, tmp_path / "tiny.pt2")
    for program in (exported.module(), torch.export.load(tmp_path / "tiny.pt2").module()):
        for shape in ((1, 3, 64, 64), (3, 3, 96, 128)):
            images = torch.randn(shape)
            assert_same_maps(program(images), tiny(images))


@pytest.mark.parametrize("by", ["pickle", "torch.save"])
def test_a_pickled_network_is_the_same_and_keeps_the_names_of_its_weights(tiny, by):
    if by == "pickle":
        copied = pickle.loads(pickle.dumps(tiny))
    else:
        torch.save(tiny, buffer := io.BytesIO())
        buffer.seek(0)
        copied = torch.load(buffer, weights_only=False)
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert all(torch.equal(*maps) for maps in zip(copied(images), tiny(images), strict=True))
        fresh = build_model("posrefine_tiny").eval()
        assert list(copied.state_dict()) == list(fresh.state_dict())
        copied.load_state_dict(fresh.state_dict())
        assert all(torch.equal(*maps) for maps in zip(copied(images), fresh(images), strict=True))


def heat_of(network: PoseNetwork, images: torch.Tensor, found: Any) -> None:
    with torch.inference_mode():
        found.put(network(images).heatmap.tolist())


def test_a_network_can_be_handed_to_a_spawned_process(tiny):
    context = torch.multiprocessing.get_context("spawn")
    images, found = torch.randn(1, 3, 32, 32), context.SimpleQueue()
    process = context.Process(target=heat_of, args=(tiny, images, found))
    process.start()
    heat = torch.tensor(found.get())
    process.join()
    with torch.inference_mode():
        torch.testing.assert_close(heat, tiny(images).heatmap, atol=1e-5, rtol=1e-4)


def test_it_compiles_as_one_graph(tiny):
    compiled = torch.compile(tiny, backend="aot_eager", fullgraph=True)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert_same_maps(compiled(images), tiny(images))


def test_maps_have_a_quarter_of_the_inputs_resolution(tiny):
    with torch.inference_mode():
        maps = tiny(torch.randn(2, 3, 64, 96))
    assert maps.heatmap.shape == (2, 17 + 1, 16, 24)
    assert maps.offset.shape == (2, 2 * 17, 16, 24)


def test_each_image_of_a_batch_is_computed_as_if_alone(tiny):
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = tiny(images)
        alone = [tiny(image.unsqueeze(0)) for image in images]
    assert_same_maps(together, PoseMaps(*(torch.cat(maps) for maps in zip(*alone, strict=True))))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("small_hw", [(2, 3), (4, 6), (8, 12)])
def test_branches_are_enlarged_as_interpolate_does_with_its_gradient(small_hw, memory):
    plain = torch.randn(2, 5, *small_hw, dtype=torch.float64).to(memory_format=memory).requires_grad_()
    ours = plain.detach().clone().requires_grad_()
    wanted = F.interpolate(plain, size=(16, 24), mode="bilinear", align_corners=False)
    found = enlarged(ours, (16, 24))
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    weight = torch.randn_like(wanted)
    (wanted * weight).sum().backward()
    (found * weight).sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-6, rtol=1e-6)


def test_every_parameter_learns():
    network = build_model("posrefine_tiny").train()
    maps = network(torch.randn(2, 3, 64, 64))
    (maps.heatmap.square().sum() + maps.offset.square().sum()).backward()
    idle = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


def test_a_few_steps_fit_one_batch():
    torch.manual_seed(0)
    network = build_model("posrefine_tiny").train()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    images = torch.randn(2, 3, 64, 64)
    heatmap, offset = torch.rand(2, 18, 16, 16), 3 * torch.randn(2, 34, 16, 16)
    losses = []
    for _ in range(20):
        maps = network(images)
        loss = (maps.heatmap - heatmap).square().mean() + 0.1 * (maps.offset - offset).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_pixels_are_normalised_by_imagenets_mean_and_spread(tiny):
    pixels = torch.tensor([[0, 128, 255]], dtype=torch.uint8).view(1, 3, 1, 1)
    found = tiny.normalise(pixels).flatten()
    wanted = (np.array([0, 128, 255]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)
    assert torch.equal(tiny.normalise(pixels.float()).flatten(), found)


def test_mean_and_spread_follow_the_network_but_are_no_weights(tiny):
    assert not [name for name in tiny.state_dict() if name.startswith("pixel_")]
    assert tiny.to(torch.float64).normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8)).dtype == torch.float64
