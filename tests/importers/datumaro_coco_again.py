"""Prints what Datumaro writes of a folder in COCO's person-keypoints form, after reading it."""

import json
import sys
import tempfile
from pathlib import Path

import datumaro

dataset = datumaro.Dataset.import_from(sys.argv[1], "coco_person_keypoints")
with tempfile.TemporaryDirectory() as folder:
    dataset.export(folder, "coco_person_keypoints", save_media=False)
    (path,) = Path(folder).rglob("person_keypoints_*.json")
    print(json.dumps(json.loads(path.read_text())))
