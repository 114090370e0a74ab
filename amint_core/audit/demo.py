"""The audit as a web page on this machine, by Voilà. It writes in a temporary folder only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from amint_core.audit.model_folder import load
from amint_core.audit.page import MOST_BYTES
from amint_core.extras import require
from amint_core.files import write_json

#: A model on stand-ins, where there is none to ask: a minute on a CPU.
STANDIN = {
    "dataset": "cifar10",
    "model": "tiny",
    "recipe": "best",
    "data": "standin",
    "members": 300,
    "external": 450,
    "calibration": 400,
    "holdout": 200,
    "test": 100,
    "epochs": 8,
    "batch_size": 50,
    "cpu_threads": 1,
    "profile": "scratch",
}
_PATIENCE = 20  # seconds for kernels to end
CODE = """import os
from amint_core.audit.page import page
page(os.environ["AMINT_DEMO_MODEL"])"""


def serve(model: Path | None = None, port: int = 8866, browser: bool = True) -> int:
    """Serve the page on localhost until it is interrupted, and return Voilà's exit status.

    Args:
        model: a model's folder; None: a small one is trained on stand-ins first.
        port: on 127.0.0.1, which no other machine reaches.
        browser: open it in a browser.

    Raises:
        AmintError: the folder holds no model; see `load`.
    """
    require("demo", "voila", "ipywidgets")
    require("audit", "matplotlib", "jinja2")
    if model is not None:
        load(model)  # what is wrong with it is said here, not on the page
    with tempfile.TemporaryDirectory(prefix="amint-demo-") as place:
        folder = Path(place)
        environment = {**os.environ, **_places(folder)}
        asked = model.resolve() if model else _standin(folder, environment)
        environment["AMINT_DEMO_MODEL"] = str(asked)
        (folder / "served").mkdir()
        write_json(folder / "served" / "audit.ipynb", _notebook())
        command = _command(folder / "served" / "audit.ipynb", port, browser)
        return _until_interrupted(command, folder / "served", environment)


def _until_interrupted(command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Run Voilà, and end it with its kernels when this process is told to end."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        try:
            server.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            server.kill()
        signal.signal(signal.SIGTERM, before)


def _places(folder: Path) -> dict[str, str]:
    """Return the variables that keep all that is written inside a folder."""
    names = ("HOME", "TMPDIR", "AMINT_CACHE", "AMINT_RESULTS", "IPYTHONDIR", "MPLCONFIGDIR")
    names += ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "XDG_CACHE_HOME")
    for name in names:
        (folder / name.lower()).mkdir()
    return {name: str(folder / name.lower()) for name in names}


def _standin(folder: Path, environment: dict[str, str]) -> Path:
    """Train a small model on stand-ins in a process of its own; return the folder to hand out."""
    print("amint: no --model given; training a small one on stand-ins, about a minute", flush=True)
    code = (
        "import sys, amint_core as amint\n"
        f"run = amint.Run(amint.RunConfig.create(**{STANDIN!r}))\n"
        "amint.train(run), amint.score(run), amint.evaluate(run)\n"
        "amint.export(run.folder, sys.argv[1])\n"
    )
    made = folder / "model"
    subprocess.run([sys.executable, "-c", code, str(made)], env=environment, check=True)
    return made


def _notebook() -> dict:
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": []}
    return {
        "cells": [{**cell, "id": "page", "source": CODE}],
        "metadata": {"title": "aMINT, an audit", "kernelspec": {"name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _command(notebook: Path, port: int, browser: bool) -> list[str]:
    # Content travels as it is; half as much again is for what surrounds it.
    largest = MOST_BYTES * 3 // 2
    return [
        *(sys.executable, "-m", "voila", str(notebook)),
        *("--Voila.ip=127.0.0.1", f"--port={port}"),
        f"--Voila.tornado_settings={{'websocket_max_message_size': {largest}}}",
        *([] if browser else ["--no-browser"]),
    ]
