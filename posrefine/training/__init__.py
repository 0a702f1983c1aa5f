"""Training: augmented views, targets, losses and the step that learns from them."""
