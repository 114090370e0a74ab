"""The datasets: find their files, decode them once, or make a stand-in on request.

To add a dataset, write a file with its `DatasetSpec` and name it in `DATASETS`. A folder of images
needs neither: its name is `folder:PATH`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from amint_core.data.base import Dataset, DatasetSpec
from amint_core.errors import DataError, SettingsError, unknown_name
from amint_core.locations import data_root, shown
from amint_core.registry import Registry

__all__ = [
    "DATASETS",
    "FOLDER",
    "Dataset",
    "DatasetSpec",
    "download",
    "is_folder",
    "load",
    "status",
]


class _Datasets(Registry[DatasetSpec]):
    """The datasets by name, and any folder as `folder:PATH`, which no list shows."""

    def __contains__(self, name: object) -> bool:
        return is_folder(name) or super().__contains__(name)

    def __getitem__(self, name: str) -> DatasetSpec:
        if name == FOLDER:
            raise SettingsError(f"{FOLDER!r} names no folder: dataset = 'folder:PATH'.")
        if is_folder(name):
            return import_module("amint_core.data.own_folder").spec_of(name)
        return super().__getitem__(name)


def is_folder(name: object) -> bool:
    """Tell whether a dataset's name means a folder of images."""
    return isinstance(name, str) and name.startswith(FOLDER)


#: Begins the name of a dataset that is a folder.
FOLDER = "folder:"
#: Every dataset by the name used in settings.
DATASETS = _Datasets(
    __name__,
    {
        "mnist": "mnist:SPEC",
        "cifar10": "cifar:CIFAR10",
        "cifar100": "cifar:CIFAR100",
        "gtsrb": "gtsrb:SPEC",
        "tiny_imagenet": "tiny_imagenet:SPEC",
        "casia_webface": "casia_webface:SPEC",
    },
)


def load(
    name: str,
    data: Literal["real", "standin"] = "real",
    image_size: int | None = None,
    root: Path | None = None,
    progress: bool = True,
    rebuild: bool = False,
) -> Dataset:
    """Load a dataset: real images from disk, or a stand-in where that is asked for.

    Real images are decoded once into a memory-mapped cache; later loads read it once, to check it,
    and take no memory for images not touched.

    Args:
        name: a name of `DATASETS`, or `folder:PATH`.
        data: "real" or "standin"; nothing falls back from one to the other.
        image_size: pixels a side; None takes the dataset's own.
        root: folder of the datasets; None takes `AMINT_DATA` or the project's `data/`.
        progress: show a bar while decoding.
        rebuild: decode again even where a cache exists.

    Raises:
        SettingsError: the dataset, the kind of data or the size is unknown.
        DataError: files are missing, incomplete or unreadable; the message names the remedy.
        CacheError: the files changed since they were decoded.
    """
    spec = _spec(name)
    size = spec.image_size if image_size is None else image_size
    if type(size) is not int or not 4 <= size <= 1024:
        raise SettingsError(f"image_size = {size!r}: give whole pixels a side, from 4 to 1024.")
    if data == "standin":
        if is_folder(name):
            raise SettingsError(f"{name} has no stand-in: it takes the place of a dataset itself.")
        from amint_core.data.standin import make_standin

        return make_standin(spec, size)
    if data != "real":
        raise SettingsError(unknown_name("kind of data", data, ("real", "standin")))
    from amint_core.data.cache import load_cached

    source = spec.find(Path(root or data_root()))
    return load_cached(spec, size, source, progress=progress, rebuild=rebuild)


def download(name: str, root: Path | None = None) -> None:
    """Fetch a dataset's official files into the data folder.

    Raises:
        DataError: the dataset is given out on request only, or the download failed.
    """
    # Imported here: a training reaches this package, and the files of datasets are no part of it.
    from amint_core.data.sources import check_place

    spec = _spec(name)
    root = Path(root or data_root())
    if spec.download is None:
        raise DataError(f"{spec.title} cannot be downloaded freely. {spec.obtain}")
    check_place(root, download=True)
    try:
        root.mkdir(parents=True, exist_ok=True)
        spec.download(root)
    except (OSError, RuntimeError, EOFError) as error:
        raise DataError(
            f"{spec.title} could not be downloaded into {shown(root)}: {error}. Check the network "
            f"and the free space, then try again. {spec.obtain}"
        ) from error


def status(root: Path | None = None) -> list[dict[str, Any]]:
    """Tell for each dataset whether its files are there: dataset, title, found, where, detail."""
    root = Path(root or data_root())
    rows = []
    for name, spec in DATASETS.items():
        row = {"dataset": name, "title": spec.title, "found": False, "where": "", "detail": ""}
        try:
            row |= {"found": True, "where": shown(spec.find(root).folder)}
        except DataError as error:
            row["detail"] = str(error)
        rows.append(row)
    return rows


def _spec(name: str) -> DatasetSpec:
    if name not in DATASETS:
        raise SettingsError(unknown_name("dataset", name, DATASETS))
    return DATASETS[name]
