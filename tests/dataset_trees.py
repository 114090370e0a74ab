"""Small trees of files in every layout that a dataset comes in."""

import csv
import gzip
import io
import json
import pickle
import struct
from hashlib import md5

import numpy as np
from PIL import Image

from amint_core.data.cifar import CIFAR10_CLASSES

RNG = np.random.default_rng(7)


def picture(size=8, channels=3):
    shape = (size, size) if channels == 1 else (size, size, channels)
    return Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8))


def save(path, image=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture()).save(path)


def idx(array):
    kind = 0x0800 + array.ndim
    return struct.pack(f">{1 + array.ndim}I", kind, *array.shape) + array.tobytes()


def mnist_idx(root, compress=False):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for stem, count in (("train", 20), ("t10k", 10)):
        arrays = {
            "images-idx3": RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            "labels-idx1": (np.arange(count) % 10).astype(np.uint8),
        }
        for kind, array in arrays.items():
            raw = idx(array)
            name = f"{stem}-{kind}-ubyte" + (".gz" if compress else "")
            (folder / name).write_bytes(gzip.compress(raw) if compress else raw)
    return folder


def mnist_gz(root):
    return mnist_idx(root, compress=True)


def mnist_folders(root):
    return class_folders(root / "mnist", map(str, range(10)), channels=1)


def class_folders(home, names, channels=3, suffix=".png", per_class=2):
    for name in names:
        for part, count in (("train", per_class), ("test", 1)):
            for number in range(count):
                save(home / part / name / f"{number:04}{suffix}", picture(8, channels))
    return home


def cifar10_folders(root):
    return class_folders(root / "cifar-10", CIFAR10_CLASSES)


def cifar100_folders(root):
    return class_folders(root / "CIFAR100", [f"thing{i:03}" for i in range(100)], per_class=1)


def cifar_pickles(root, monkeypatch):
    """Write small official-looking batches and tell torchvision their checksums."""
    from torchvision.datasets import CIFAR10

    folder = root / "CIFAR10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    contents = {
        name: {"data": RNG.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": [*range(10)]}
        for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    }
    contents["batches.meta"] = {"label_names": list(CIFAR10_CLASSES)}
    sums = {}
    for name, content in contents.items():
        raw = pickle.dumps(content)
        (folder / name).write_bytes(raw)
        sums[name] = md5(raw).hexdigest()
    batches = [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)]
    monkeypatch.setattr(CIFAR10, "train_list", batches)
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    return folder, contents


def cifar_binary(root, number=10, images=20):
    """Write the binary version: CIFAR-100's labels follow the coarse ones."""
    folder = root / f"CIFAR{number}" / {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}[number]
    folder.mkdir(parents=True)
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    for name in [*batches, "test_batch"] if number == 10 else ["train", "test"]:
        labels = np.arange(images)[:, None] % number
        labels = labels if number == 10 else np.hstack([labels % 20, labels])
        rows = np.hstack([labels, RNG.integers(0, 256, (images, 3072))]).astype(np.uint8)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    names = CIFAR10_CLASSES if number == 10 else [f"thing{i:03}" for i in range(100)]
    table = "batches.meta.txt" if number == 10 else "fine_label_names.txt"
    (folder / table).write_text("\n".join(names) + "\n\n")
    return folder


def gtsrb_torchvision(root, suffix=".ppm"):
    home = root / "gtsrb"
    for label in range(43):
        for track in range(2):
            for frame in range(2):
                name = f"{track:05}_{frame:05}{suffix}"
                save(home / "GTSRB" / "Training" / f"{label:05}" / name)
        save(home / "GTSRB" / "Final_Test" / "Images" / f"{label:05}{suffix}")
    rows = [f"{label:05}{suffix};8;8;0;0;7;7;{label}" for label in range(43)]
    header = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    (home / "GT-final_test.csv").write_text("\n".join([header, *rows]) + "\n")
    return home


def gtsrb_png(root):
    home = root / "GTSRB"
    for label in range(43):
        for frame in range(4):
            name = f"{label:05}_{frame // 2:05}_{frame % 2:05}.png"
            save(home / "Train" / str(label) / name)
        save(home / "Test" / f"{label:05}.png")
    with (home / "Test.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["Width", "Height", "ClassId", "Path"])
        table.writerows([8, 8, label, f"Test/{label:05}.png"] for label in range(43))
    return home


WNIDS = [f"n{number:08}" for number in range(200)]


def tiny_official(root):
    home = root / "tiny-imagenet-200"
    for wnid in WNIDS:
        save(home / "train" / wnid / "images" / f"{wnid}_0.JPEG")
        save(home / "val" / "images" / f"val_{wnid}.JPEG")
    (home / "wnids.txt").write_text("\n".join(reversed(WNIDS)) + "\n")
    (home / "words.txt").write_text("".join(f"{w}\tthing {w}, item\n" for w in WNIDS[2:]))
    rows = [f"val_{wnid}.JPEG\t{wnid}\t0\t0\t8\t8\n" for wnid in WNIDS]
    (home / "val" / "val_annotations.txt").write_text("".join(rows))
    return home


def tiny_sorted_val(root):
    home = root / "TinyImageNet"
    for wnid in WNIDS:
        save(home / "train" / wnid / f"{wnid}_0.JPEG")
        save(home / "val" / wnid / f"{wnid}_1.JPEG")
    return home


def tiny_parquet(root):
    import pyarrow as pa
    from pyarrow import parquet

    folder = root / "tiny-imagenet" / "data"
    folder.mkdir(parents=True)
    features = {"info": {"features": {"label": {"names": WNIDS}}}}
    for split in ("train", "valid"):
        rows = []
        for _ in range(200):
            stream = io.BytesIO()
            picture().save(stream, "JPEG")
            rows.append({"bytes": stream.getvalue(), "path": None})
        table = pa.table({"image": rows, "label": list(range(200))})
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        parquet.write_table(table, folder / f"{split}-00000-of-00001-abc.parquet")
    return folder


RECORD = struct.pack("<I", 0xCED7230A)


def record(raw):
    """Write one record; where the magic number stands in it, it is cut there into chunks."""
    parts = raw.split(RECORD)
    places = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        RECORD + struct.pack("<I", place << 29 | len(part)) + part + bytes(-len(part) % 4)
        for place, part in zip(places, parts, strict=True)
    )


def insightface_records(root, folders):
    """Pack IDENTITY/KEY.jpg, both numbers, as insightface does."""
    files = sorted(folders.rglob("*.jpg"), key=lambda file: int(file.stem))
    home = root / "faces_webface_112x112"
    home.mkdir(parents=True)
    lists = [struct.pack("<IfQQ2f", 2, 0, 0, 0, len(files) + 1, len(files) + 3)]
    # The label stands in the header, or first among further ones.
    for file in files:
        identity, key = int(file.parent.name), int(file.stem)
        one = struct.pack("<IfQQ", 0, identity, key, 0)
        more = struct.pack("<IfQQ2f", 2, 0, key, 0, identity, 0)
        lists.append((more if key % 2 else one) + file.read_bytes())
    lists += [struct.pack("<IfQQ2f", 2, 0, len(files) + 1 + n, 0, 1, 2) for n in range(2)]
    (home / "train.rec").write_bytes(b"".join(map(record, lists)))
    (home / "train.idx").write_text("0\t0\n")
    (home / "property").write_text("2,112,112\n")
    return home


def casia_folders(root, identities=30):
    home = root / "CASIA-WebFace"
    for identity in range(identities):
        for number in range(1 + identity % 12):
            save(home / f"{identity:07}" / f"{number:03}.jpg")
    return home
