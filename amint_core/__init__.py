"""amint: train image classifiers that can tell their own training images, and check that claim.

The steps of a run, in order: `RunConfig`, `Run`, `prepare`, `build`, `train`, `score`, `evaluate`.
To make a model of your own auditable: `enhance`, the losses, `auditable`, `save`; to ask one which
images it was trained on: `load`, `audit`. For owners of images: `mark`, `trace`.
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "RunConfig": "settings",
    "Run": "run.folder",
    "prepare": "data.prepare",
    "build": "run.models",
    "stages": "run.steps",
    "train": "run.steps",
    "score": "run.steps",
    "evaluate": "run.steps",
    "run_all": "run.steps",
    "case_of": "run.steps",
    "versions": "provenance",
    "enhance": "model.mint",
    "EnhancedAuditedModel": "model.mint",
    "LossBalance": "training.step",
    "audited_loss": "training.losses",
    "mint_loss": "training.losses",
    "p_values": "audit.conformal",
    "Preprocessing": "audit.preprocessing",
    "AuditableModel": "audit.auditable",
    "auditable": "audit.auditable",
    "deal": "own.deal",
    "fit": "own.fit",
    "attach": "own.attach",
    "tradeoff": "own.tradeoff",
    "compare": "own.compare",
    "replay": "own.replay",
    "judged_images": "own.compare",
    "save": "audit.model_folder",
    "load": "audit.model_folder",
    "export": "audit.export",
    "Marks": "audit.marks",
    "mark": "audit.marks",
    "trace": "audit.marks",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    # Loaded when asked for: reading a grid must not wait for PyTorch.
    if name == "audit":  # a folder that can be called
        return import_module("amint_core.audit")
    if name in _PUBLIC:
        return getattr(import_module(f"amint_core.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'amint_core' has no attribute {name!r}")
