"""Prints as a JSON list what FiftyOne writes of samples, a line each, after reading them."""

import json
import sys
from pathlib import Path

import fiftyone

lines = Path(sys.argv[1]).read_text().splitlines()
samples = [fiftyone.Sample.from_dict(json.loads(line)) for line in lines]
for sample in samples:
    for person in sample.poses.keypoints:
        assert len(person.points) == len(person.visible) == len(person.joints)
print(json.dumps([sample.to_json() for sample in samples]))
