"""How fast and how large: each figure a ratio within one run, in interleaved pairs.

`make bench` runs the suite through pytest-benchmark; `python -m benchmarks` runs the same figures
without it, on a GPU too. Both write `results/benchmarks/<device>.json` with its tables and chart.
"""
