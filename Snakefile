"""One papermill call per run of a profile's grid, then the report.

`make reproduce` calls it. By hand, e.g.:
snakemake --workflow-profile workflow/profiles/default --config profile=laptop
snakemake --workflow-profile workflow/profiles/default --config profile=mine grid=my.yaml
"""

import os
import sys
from functools import cache
from pathlib import Path

from amint_core.batch import reproduce
from amint_core.batch.grid import grid_file, load_grid

PY = sys.executable
HERE = os.getcwd()
PROFILE = config.get("profile", "quick")
GRID_FILE = config.get("grid") or grid_file(PROFILE)
GRID = load_grid(GRID_FILE, PROFILE)
PRIORITIES = reproduce.priorities(GRID)
RESULTS = reproduce.profile_folder(PROFILE)
# Any change of the code counts as a change of every run. The newest file stands for all: Snakemake
# looks at each input of each run again and again.
SOURCE = max(
    reproduce.sources(GRID), key=lambda path: (path.stat().st_mtime_ns, path)
).as_posix()
# Scores are asked for too: a fresh clone has the metrics, but draws no curves without scores.
DONE = [
    f"{RESULTS}/runs/{run}/{name}" for run in GRID for name in ("metrics.json", "scores.parquet")
]


def cores():
    """Return the cores of this machine that runs may take; None where a cluster does them."""
    return None if workflow.non_local_exec else workflow.cores


@cache
def needs(run):
    """Return the memory (MiB) and time (minutes) to ask a cluster for; this machine's are shared."""
    if workflow.remote_exec or not workflow.non_local_exec:
        return {"mem_mb": 0, "runtime": 0}
    from amint_core.batch.plan import resources

    return resources(GRID[run])


# Kernels come from the Python that runs this, not from elsewhere on the machine.
shell.prefix("unset JUPYTER_PATH JUPYTER_PREFER_ENV_PATH; ")


localrules:
    all,
    runs,


rule all:
    input:
        DONE,
        f"{RESULTS}/tables/table1.csv",
    message:
        "all runs and the report are in place"


rule runs:
    input:
        DONE,
    message:
        "all runs are in place"


rule run:
    input:
        SOURCE,
        notebook=lambda wildcards: reproduce.notebook_file(GRID[wildcards.run]),
    output:
        metrics=f"{RESULTS}/runs/{{run}}/metrics.json",
        scores=f"{RESULTS}/runs/{{run}}/scores.parquet",
    log:
        notebook=f"{RESULTS}/runs/{{run}}/notebook.ipynb",
        text=f"{RESULTS}/runs/{{run}}/papermill.log",
    params:
        # Runs that outlive a killed Snakemake are waited for.
        lock=lambda wildcards: f"{RESULTS}/runs/{wildcards.run}/.papermill.lock",
        settings=lambda wildcards: reproduce.papermill_settings(GRID[wildcards.run]),
        gpu=lambda wildcards: "--own-gpu" if reproduce.gpus(GRID[wildcards.run]) else "--no-gpu",
    priority: lambda wildcards: PRIORITIES[wildcards.run]
    threads: lambda wildcards: reproduce.threads(GRID[wildcards.run], cores())
    resources:
        gpu=lambda wildcards: reproduce.gpus(GRID[wildcards.run]),
        # A run that had too little gets more when it is tried again.
        mem_mb=lambda wildcards, attempt: attempt * needs(wildcards.run)["mem_mb"],
        runtime=lambda wildcards, attempt: attempt * needs(wildcards.run)["runtime"],
    wildcard_constraints:
        run="[^/]+",
    message:
        "{wildcards.run}"
    shell:
        "{PY:q} -m amint_core.batch.lock {params.gpu} {params.lock:q}"
        " papermill {input.notebook:q} {log.notebook:q} -k python3 --no-progress-bar"
        " --cwd {HERE:q} -y {params.settings:q} > {log.text:q} 2>&1"


rule report:
    input:
        SOURCE,
        notebook="notebooks/aMINTResults.ipynb",
        # `amint reproduce` reports on the runs that succeeded, whatever became of the others.
        runs=[path for path in DONE if not config.get("partial") or Path(path).exists()],
    output:
        expand(f"{RESULTS}/tables/table1.{{form}}", form=["csv", "md", "tex", "html"]),
    log:
        notebook=f"{RESULTS}/aMINTResults.ipynb",
        text=f"{RESULTS}/logs/report.log",
    message:
        "tables and figures"
    shell:
        "{PY:q} -m amint_core.batch.lock {RESULTS:q}/.report.lock papermill"
        " {input.notebook:q} {log.notebook:q} -k python3 --no-progress-bar"
        " --cwd {HERE:q} -r profile {PROFILE:q} > {log.text:q} 2>&1"
