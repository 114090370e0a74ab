"""Measure everything in one go: `python -m benchmarks [--device cuda] [--out FOLDER]`."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch

from amint_core.locations import results_root
from benchmarks.figures import add, figures, no_results
from benchmarks.loading import BenchmarkError, announce
from benchmarks.tables import markdown, write_all


def main(arguments: list[str] | None = None) -> int:
    """Measure the figures of a device and write them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default=None)
    parser.add_argument("--out", type=Path, default=results_root() / "benchmarks")
    parser.add_argument("--only", default="", help="figures whose name holds this text")
    given = parser.parse_args(arguments)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: PyTorch finds no GPU here.")
    if device == "cpu":  # even where there is a GPU, in the loops' processes too
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    chosen = [figure for figure in figures(device) if given.only in figure.name]
    if not chosen:
        names = ", ".join(figure.name for figure in figures(device))
        parser.error(f"--only {given.only!r} is in the name of no figure: {names}.")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        if any(figure.section == "loading" for figure in chosen):
            announce()
    except (OSError, BenchmarkError) as error:
        parser.error(str(error))
    results = no_results(device)
    # Some figures alone stand beside the whole, never in its place.
    name = f"{device}.partial" if given.only else device
    for figure in chosen:
        started = time.perf_counter()
        add(results, figure, figure.measure())
        print(f"{figure.name}: {time.perf_counter() - started:.0f} s", flush=True)
        write_all(results, given.out, name)
    print(markdown(results))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
