"""Prints as JSON what Datumaro reads of CVAT's annotations.xml in a folder; it knows no skeletons."""

import json
import sys

import datumaro

dataset = datumaro.Dataset.import_from(sys.argv[1], "cvat")
labels = dataset.categories()[datumaro.AnnotationType.label]
images = {}
for item in dataset:
    images[item.id] = {
        "points": [
            [labels[one.label].name, *map(float, one.points)]
            for one in item.annotations
            if one.type == datumaro.AnnotationType.points
        ],
        "tags": [
            {"label": labels[one.label].name, **one.attributes}
            for one in item.annotations
            if one.type == datumaro.AnnotationType.label
        ],
    }
print(json.dumps({"labels": [label.name for label in labels.items], "images": images}))
