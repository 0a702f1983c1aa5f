"""Prints as JSON what FiftyOne reads of samples, a line each."""

import json
import sys
from pathlib import Path

import fiftyone

samples = [fiftyone.Sample.from_dict(json.loads(line)) for line in Path(sys.argv[1]).read_text().splitlines()]
skeleton = fiftyone.KeypointSkeleton(**json.loads(Path(sys.argv[2]).read_text()))
print(
    json.dumps(
        {
            "joints": skeleton.labels,
            "images": {
                sample.filepath: [
                    {"points": person.points, "confidence": person.confidence, "score": person.person_score}
                    for person in sample.poses.keypoints
                ]
                for sample in samples
            },
        }
    )
)
