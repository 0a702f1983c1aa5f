"""Prints as JSON what Datumaro reads of a folder in COCO's person-keypoints form."""

import json
import sys

import datumaro

dataset = datumaro.Dataset.import_from(sys.argv[1], "coco_person_keypoints")
points = dataset.categories()[datumaro.AnnotationType.points]
images = {}
for item in dataset:
    found = [one for one in item.annotations if one.type == datumaro.AnnotationType.points]
    images[item.id] = [
        {
            "points": list(map(float, person.points)),
            "visibility": [flag.value for flag in person.visibility],
            "attributes": dict(person.attributes),
        }
        for person in found
    ]
joints = next(iter(points.items.values()))
print(json.dumps({"joints": joints.labels, "limbs": sorted(joints.joints), "images": images}))
