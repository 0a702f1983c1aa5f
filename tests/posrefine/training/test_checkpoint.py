from __future__ import annotations

import pickle

import pytest
import torch

from posrefine.errors import TrainingError
from posrefine.training.checkpoint import load_checkpoint, save_checkpoint


class Payload:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "deep" / "checkpoint.pt"
    save_checkpoint({"optimizer": {}, "step": 1}, path)
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save_checkpoint({"optimizer": {}, "step": lambda: None}, path)
    assert load_checkpoint(path)["step"] == 1


def test_a_cut_checkpoint_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint({"optimizer": {}, "weights": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(TrainingError, match=r"not a whole training checkpoint .* delete it to start over"):
        load_checkpoint(path)


def test_a_checkpoint_never_runs_code(tmp_path, capsys):
    path = tmp_path / "checkpoint.pt"
    torch.save({"optimizer": Payload()}, path)
    with pytest.raises(TrainingError):
        load_checkpoint(path)
    assert "code ran" not in capsys.readouterr().out


def test_another_torch_file_is_not_taken_for_a_checkpoint(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(TrainingError, match="not a training checkpoint"):
        load_checkpoint(tmp_path / "weights.pth")
