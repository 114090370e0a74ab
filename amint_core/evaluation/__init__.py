"""Metrics of a run, with intervals, and comparisons of runs."""

#: Thresholds that accuracy is taken at: the test's own (score 0), and one chosen on other images.
THRESHOLDS = ("own", "calibrated")
