"""From a trained model to scores, and from scores to metrics."""
