"""Prints as JSON what Ultralytics' dataset reads of a data.yaml."""

import json
import sys
from pathlib import Path

from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset

data = check_det_dataset(sys.argv[1], autodownload=False)
dataset = YOLODataset(img_path=data["train"], data=data, task="pose", augment=False)
images = {
    Path(label["im_file"]).name: {
        "boxes": label["bboxes"].tolist(),
        "keypoints": label["keypoints"].tolist(),
    }
    for label in dataset.labels
}
print(json.dumps({"root": str(data["path"]), "kpt_shape": data["kpt_shape"], "images": images}))
