"""Settings of a run that takes a second or two."""

SMALL = {
    "dataset": "mnist",
    "model": "tiny",
    "data": "standin",
    "image_size": 8,
    "members": 60,
    "external": 80,
    "calibration": 40,
    "holdout": 100,
    "test": 30,
    "epochs": 1,
    "batch_size": 20,
    "cpu_threads": 1,
}
