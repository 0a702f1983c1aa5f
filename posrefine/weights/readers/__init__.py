"""One reader for each kind of public checkpoint, and the rule that tells them apart."""
