"""How many odd inputs the fuzz tests try, and that their guard guards."""

import math
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from fuzzing import NIGHTLY, SUITE, guarded

from amint_core.errors import DataError


def fuzz_tests():
    """Count the tests of all fuzz files, a test per parameter."""
    count = 0
    for file in Path(__file__).parent.glob("test_fuzz_*.py"):
        for name, test in vars(import_module(file.stem)).items():
            if name.startswith("test_"):
                marks = [m for m in getattr(test, "pytestmark", ()) if m.name == "parametrize"]
                count += math.prod(len(mark.args[1]) for mark in marks)
    return count


def test_as_many_inputs_are_tried_as_the_documentation_says():
    assert fuzz_tests() * SUITE >= 1_000
    assert fuzz_tests() * NIGHTLY >= 20_000


def test_errors_of_ours_pass_the_guard_and_no_others():
    with guarded() as refused:
        raise DataError("refused")
    assert [str(error) for error in refused] == ["refused"]
    with pytest.raises(KeyError), guarded():
        raise KeyError("foreign")


def test_no_process_starts_and_little_memory_is_taken_under_the_guard():
    with pytest.raises(AssertionError, match="started a process"), guarded():
        subprocess.run([sys.executable, "-c", ""], check=True)
    with pytest.raises(MemoryError), guarded():
        bytes(2**31)
    subprocess.run([sys.executable, "-c", ""], check=True)
