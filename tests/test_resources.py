"""Processes end with the one that started them; memory that is used up is called so."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from project_copy import wait_for
from small_run import SMALL
from torch import nn

from amint_core.errors import ModelError, ResourceError
from amint_core.locations import project_root
from amint_core.memory import enough_memory
from amint_core.model.mint import enhance
from amint_core.run import steps
from amint_core.run.folder import Run
from amint_core.settings import create

DRIVER = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from amint_core.run.worker import begin_work
if __name__ == "__main__":
    with ProcessPoolExecutor(2, get_context("spawn"), begin_work) as pool:
        jobs = [pool.submit(time.sleep, 300) for _ in range(2)]
        while len(pool._processes) < 2 or not all(job.running() for job in jobs):
            time.sleep(0.05)
        print(*pool._processes, flush=True)
        time.sleep(300)
"""


def is_there(process):
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    environment = {**os.environ, "PYTHONPATH": str(project_root())}
    command = [sys.executable, str(script)]
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    workers = driver.stdout.readline().split()
    assert len(workers) == 2
    assert all(map(is_there, workers))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    wait_for(lambda: not any(map(is_there, workers)), seconds=60)
    assert not any(map(is_there, workers))


SAID = [
    RuntimeError("could not create a primitive descriptor"),
    RuntimeError("could not execute a primitive"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("can't start new thread"),
    OSError(12, "Cannot allocate memory"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
]


@pytest.mark.parametrize("error", SAID, ids=repr)
def test_memory_is_named_whoever_misses_it(error):
    with pytest.raises(ResourceError, match=r"Memory is used up.*Nothing is lost"), enough_memory():
        raise error


def test_what_could_not_be_said_once_memory_is_used_up_is_said_before(monkeypatch):
    for room, enough in ((2**20, False), (2**30, True)):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        monkeypatch.setattr(resource, "getrlimit", lambda _, limit=used + room: (limit, limit))
        if enough:
            with enough_memory():
                pass
        else:
            with pytest.raises(ResourceError, match="MiB of address space left"), enough_memory():
                pytest.fail("it has begun")


class Refusing(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.tap, self.error = nn.Conv2d(1, 4, 3), error

    def forward(self, images):
        raise self.error


def test_a_model_that_lacks_memory_is_not_said_to_refuse_images():
    with pytest.raises(RuntimeError, match="could not create"):
        enhance(Refusing(SAID[0]), ["tap"], torch.zeros(2, 1, 8, 8))
    with pytest.raises(ModelError, match="refuses images"):
        enhance(Refusing(RuntimeError("wrong shape")), ["tap"], torch.zeros(2, 1, 8, 8))


def test_a_run_that_lacks_memory_says_so(monkeypatch):
    def fail(*_, **__):
        raise SAID[0]

    monkeypatch.setattr(steps, "train_model", fail)
    with pytest.raises(ResourceError, match="could not create a primitive"):
        steps.train(Run(create(**SMALL)))
