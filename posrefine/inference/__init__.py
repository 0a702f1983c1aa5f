"""Images to poses: resize plan and warp, test-time augmentation, decoding, pose NMS, and the Predictor."""
