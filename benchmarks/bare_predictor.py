"""The predictor alone on its share of a tar's images: what `runs.py` holds a run against.

Says `ready` when the images are decoded and the predictor is warm, waits for a line, and says how many images it did.
"""

from __future__ import annotations

import io
import sys
import tarfile

import numpy as np
import torch
from PIL import Image

from posrefine import Predictor, build_model
from posrefine.freed_memory import keep_freed_memory


def main() -> None:
    tar, model, input_size, precision, threads, at_once, share = sys.argv[1:]
    number, processes = map(int, share.split("/"))
    keep_freed_memory()
    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    with tarfile.open(tar) as file:
        members = file.getmembers()[number::processes]
        images = [np.asarray(Image.open(io.BytesIO(file.extractfile(member).read()))) for member in members]  # type: ignore[union-attr]
    predictor = Predictor(build_model(model), int(input_size), precision=precision)  # type: ignore[arg-type]
    predictor(images[: int(at_once)])
    print("ready", flush=True)
    sys.stdin.readline()
    for first in range(0, len(images), int(at_once)):
        predictor(images[first : first + int(at_once)])
    print(len(images))


if __name__ == "__main__":
    main()
