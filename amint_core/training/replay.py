"""Repeat one training step: as a CUDA graph where there is a GPU, as it is elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

WARM = 3  # steps run as they are before one is captured: libraries choose their kernels in these


class Replay:
    """A step that takes no argument and leaves its results in tensors that stay where they are.

    A step of a small model is hundreds of kernels, each quicker than its launch. Captured once,
    they are launched together. Everything that changes from step to step has to be read from
    tensors (a counter, rows of a plan), since Python runs during the capture alone.
    """

    def __init__(self, step: Callable[[], None], device: torch.device, graph: bool = True) -> None:
        """Remember the step.

        Args:
            step: does one step.
            device: where it computes.
            graph: capture it where `device` is a GPU.
        """
        self.step, self.done, self.graph = step, 0, None
        self.captures = graph and device.type == "cuda"
        if self.captures:
            self.stream = torch.cuda.Stream(device)

    def __call__(self) -> None:
        """Do the next step."""
        if not self.captures:
            self.step()
        elif self.done < WARM:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self.step()
            torch.cuda.current_stream().wait_stream(self.stream)
        else:
            if self.graph is None:
                self._capture()
            if self.graph is not None:
                self.graph.replay()
            else:
                self.step()
        self.done += 1

    def release(self) -> None:
        """Give the graph's memory back; no step can follow."""
        self.graph, self.step = None, None

    def _capture(self) -> None:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            # Capturing records the kernels and runs none: what follows is the first replay.
            with torch.cuda.graph(graph, stream=self.stream):
                self.step()
        except RuntimeError as error:
            warnings.warn(f"No CUDA graph of this step ({error}); it runs as it is.", stacklevel=2)
            self.captures = False
        else:
            self.graph = graph
