"""Your own model and your own images: made auditable without a dataset's or a run's settings."""
