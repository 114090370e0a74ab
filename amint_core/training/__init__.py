"""From a model and joint batches to a trained model and its history."""
