"""The kinds of store behind `pipeline.storage`."""
