"""Prints as JSON what Label Studio's SDK makes of a labelling configuration and of tasks for it."""

import json
import sys
from pathlib import Path

from label_studio_sdk._extensions.label_studio_tools.core.label_config import parse_config
from label_studio_sdk.converter.keypoints import build_kp_order
from label_studio_sdk.label_interface import LabelInterface
from label_studio_sdk.label_interface.objects import PredictionValue

config = Path(sys.argv[1]).read_text()
interface = LabelInterface(config)
interface.validate()
tasks = json.loads(Path(sys.argv[2]).read_text())
faults = []
for task in tasks:
    interface.validate_task({"data": task["data"]})
    for prediction in task["predictions"]:
        PredictionValue.model_validate(prediction)
        faults += interface.validate_prediction(prediction, return_errors=True)
print(json.dumps({"tasks": len(tasks), "faults": faults, "joints": build_kp_order(parse_config(config))}))
