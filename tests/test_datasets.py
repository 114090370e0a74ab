"""Every layout of every dataset, read from small generated trees, and every way they break."""

import csv
import gzip
import io
import json
import pickle
import struct
import sys
from hashlib import md5
from subprocess import run

import numpy as np
import pytest
from PIL import Image

from amint_core.datasets import DATASETS, casia_webface, download, load, status
from amint_core.datasets.cifar import CIFAR10_CLASSES
from amint_core.exceptions import DataError, SettingsError

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


def casia_folders(root, identities=30):
    home = root / "CASIA-WebFace"
    for identity in range(identities):
        for number in range(1 + identity % 12):
            save(home / f"{identity:07}" / f"{number:03}.jpg")
    return home


#: dataset → (layouts, pool, test); a dataset without a row fails `test_every_dataset_has_a_row`.
LAYOUTS = {
    "mnist": ([mnist_idx, mnist_gz, mnist_folders], 20, 10),
    "cifar10": ([cifar10_folders], 20, 10),
    "cifar100": ([cifar100_folders], 100, 100),
    "gtsrb": ([gtsrb_torchvision, gtsrb_png], 172, 43),
    "tiny_imagenet": ([tiny_official, tiny_sorted_val, tiny_parquet], 200, 200),
    "casia_webface": ([casia_folders], 161, 16),
}


def test_every_dataset_has_a_row():
    assert set(LAYOUTS) == set(DATASETS)
    assert all(name == spec.name for name, spec in DATASETS.items())


@pytest.mark.parametrize(
    ("name", "make"), [(name, make) for name, row in LAYOUTS.items() for make in row[0]]
)
def test_layout(name, make, tmp_path):
    make(tmp_path)
    _, pool, test = LAYOUTS[name]
    spec = DATASETS[name]
    dataset = load(name, root=tmp_path, progress=False)
    size = spec.image_size
    assert dataset.pool.pixels.shape == (pool, size, size, spec.channels)
    assert dataset.test.pixels.shape == (test, size, size, spec.channels)
    assert set(dataset.pool.labels) == set(range(dataset.num_classes))
    assert dataset.source == "real"
    assert dataset.title == spec.title
    assert any("official release" in note for note in dataset.notes)
    found = {row["dataset"]: row for row in status(tmp_path)}
    assert [row["found"] for row in found.values()] == [other == name for other in DATASETS]
    assert "data folder" in next(r["detail"] for r in found.values() if not r["found"])


# Contents


def test_pixels_and_labels_are_those_of_the_files(tmp_path):
    home = class_folders(tmp_path / "CIFAR10", CIFAR10_CLASSES)
    dataset = load("cifar10", root=tmp_path, image_size=8, progress=False)
    for number, name in enumerate(CIFAR10_CLASSES):
        index = np.flatnonzero(dataset.pool.labels == number)[1]
        expected = np.asarray(Image.open(home / "train" / name / "0001.png"))
        np.testing.assert_array_equal(dataset.pool.pixels[index], expected)
    assert dataset.class_names == CIFAR10_CLASSES


def test_jpeg_in_place_of_lossless_files_is_noted(tmp_path):
    class_folders(tmp_path / "CIFAR10", CIFAR10_CLASSES, suffix=".jpg")
    notes = load("cifar10", root=tmp_path, progress=False).notes
    assert any("20 JPEG files" in note for note in notes)


def test_mnist_idx_is_read_exactly(tmp_path):
    folder = mnist_idx(tmp_path)
    dataset = load("mnist", root=tmp_path, progress=False)
    raw = (folder / "t10k-images-idx3-ubyte").read_bytes()[16:]
    assert np.asarray(dataset.test.pixels).tobytes() == raw


@pytest.mark.parametrize("make", [gtsrb_torchvision, gtsrb_png])
def test_gtsrb_keeps_tracks(tmp_path, make):
    make(tmp_path)
    dataset = load("gtsrb", root=tmp_path, image_size=8, progress=False)
    assert len(set(dataset.pool.groups)) == 86
    assert set(np.bincount(dataset.pool.groups)) == {2}
    assert not set(dataset.pool.groups) & set(dataset.test.groups)
    assert list(dataset.test.labels) == list(range(43))


def test_gtsrb_names_without_track_are_refused(tmp_path):
    home = gtsrb_torchvision(tmp_path)
    save(home / "GTSRB" / "Training" / "00003" / "sign.ppm")
    with pytest.raises(DataError, match=r"sign\.ppm: the name tells no track"):
        load("gtsrb", root=tmp_path, progress=False)


def test_tiny_imagenet_classes_have_words_and_sorted_numbers(tmp_path):
    tiny_official(tmp_path)
    dataset = load("tiny_imagenet", root=tmp_path, image_size=8, progress=False)
    assert dataset.class_names[:3] == (WNIDS[0], WNIDS[1], f"thing {WNIDS[2]}")
    assert list(dataset.test.labels) == list(range(200))


def test_casia_sets_a_test_part_aside_by_name_alone(tmp_path):
    home = casia_folders(tmp_path)
    names = tuple(f"{i:07}" for i in range(30))
    listed = casia_webface.list_classes(home)
    parts = casia_webface.set_aside(listed, names)
    counts = {name: (len(parts["pool"][name]), len(parts["test"][name])) for name in names}
    assert sum(test for _, test in counts.values()) == round(177 * 44_406 / 494_414)
    assert all(pool >= 1 and test <= 1 + pool // 9 for pool, test in counts.values())
    # The order in which the files are listed makes no difference.
    turned = {name: files[::-1] for name, files in listed.items()}
    assert casia_webface.set_aside(turned, names) == parts


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


def test_cifar_pickles(tmp_path, monkeypatch):
    _, contents = cifar_pickles(tmp_path, monkeypatch)
    dataset = load("cifar10", root=tmp_path, progress=False)
    assert len(dataset.pool) == 50
    first = contents["data_batch_1"]["data"][0].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(dataset.pool.pixels[0], first)
    assert dataset.class_names == CIFAR10_CLASSES


# What may be broken


def test_cifar_pickle_with_a_wrong_checksum_is_never_opened(tmp_path, monkeypatch):
    folder, _ = cifar_pickles(tmp_path, monkeypatch)
    (folder / "data_batch_3").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    with pytest.raises(DataError, match=r"data_batch_3 is missing, damaged or not the published"):
        load("cifar10", root=tmp_path, progress=False)


def test_cifar_with_a_missing_batch_is_half_downloaded(tmp_path, monkeypatch):
    folder, _ = cifar_pickles(tmp_path, monkeypatch)
    (folder / "data_batch_5").unlink()
    with pytest.raises(DataError, match="data_batch_5 is missing: the dataset is half downloaded"):
        load("cifar10", root=tmp_path, progress=False)


def truncated_idx(root):
    path = mnist_idx(root) / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])


def truncated_gz(root):
    path = mnist_gz(root) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])


def not_idx(root):
    (mnist_idx(root) / "t10k-labels-idx1-ubyte").write_text("<html>not found</html>")


def missing_labels(root):
    (mnist_idx(root) / "t10k-labels-idx1-ubyte").unlink()


def labels_of_another_part(root):
    (mnist_idx(root) / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(7, np.uint8)))


def colour_digit(root):
    save(mnist_folders(root) / "train" / "4" / "0000.png", picture(8, 3))


def empty_class(root):
    for path in (cifar10_folders(root) / "train" / "dog").iterdir():
        path.unlink()


def missing_class(root):
    home = cifar10_folders(root)
    (home / "train" / "dog").rename(home / "dog")


def missing_part(root):
    home = cifar10_folders(root)
    (home / "test").rename(home / "elsewhere")


def truncated_image(root):
    path = cifar10_folders(root) / "test" / "frog" / "0000.png"
    path.write_bytes(path.read_bytes()[:60])


def not_an_image(root):
    (cifar10_folders(root) / "train" / "cat" / "0001.png").write_text("no image")


def all_grey(root):
    class_folders(root / "CIFAR10", CIFAR10_CLASSES, channels=1)


def transparent(root):
    save(cifar10_folders(root) / "train" / "cat" / "0001.png", picture(8, 4))


def packed(root):
    (root / "cifar-10-python.tar.gz").write_bytes(b"archive")


def csv_names_missing_image(root):
    (gtsrb_torchvision(root) / "GTSRB" / "Final_Test" / "Images" / "00007.ppm").unlink()


def no_table(root):
    (gtsrb_torchvision(root) / "GT-final_test.csv").unlink()


def odd_table(root):
    (gtsrb_torchvision(root) / "GT-final_test.csv").write_text("a;b\n1;2\n")


def truncated_ppm(root):
    path = gtsrb_torchvision(root) / "GTSRB" / "Training" / "00001" / "00000_00001.ppm"
    path.write_bytes(path.read_bytes()[:-20])


def wnids_without_folder(root):
    home = tiny_official(root)
    (home / "train" / WNIDS[3]).rename(home / "gone")


def annotation_without_image(root):
    (tiny_official(root) / "val" / "images" / f"val_{WNIDS[9]}.JPEG").unlink()


def no_validation(root):
    home = tiny_official(root)
    (home / "val").rename(home / "elsewhere")


def truncated_jpeg(root):
    path = tiny_official(root) / "train" / WNIDS[5] / "images" / f"{WNIDS[5]}_0.JPEG"
    path.write_bytes(path.read_bytes()[:-300])


def missing_parquet(root):
    (tiny_parquet(root) / "valid-00000-of-00001-abc.parquet").unlink()


def missing_shard(root):
    folder = tiny_parquet(root)
    (folder / "train-00000-of-00001-abc.parquet").rename(folder / "train-00000-of-00002.parquet")


def damaged_parquet(root):
    path = tiny_parquet(root) / "train-00000-of-00001-abc.parquet"
    path.write_bytes(path.read_bytes()[:-50])


def lone_faces(root):
    for identity in range(5):
        save(root / "CASIA-WebFace" / f"{identity:07}" / "001.jpg")


def empty_identity(root):
    (casia_folders(root) / "9999999").mkdir()


BROKEN = [
    ("mnist", truncated_idx, r"train-images-idx3-ubyte holds .* truncated"),
    ("mnist", truncated_gz, r"train-images-idx3-ubyte\.gz is a damaged archive"),
    ("mnist", not_idx, r"t10k-labels-idx1-ubyte is not an idx file"),
    ("mnist", missing_labels, r"t10k-labels-idx1-ubyte is missing: .* half downloaded"),
    ("mnist", labels_of_another_part, r"20 images, but .*train-labels-idx1-ubyte 7 labels"),
    ("mnist", colour_digit, r"4/0000\.png has mode RGB, but MNIST is grey"),
    ("cifar10", empty_class, r"train/dog holds no image"),
    ("cifar10", missing_class, r"train holds 9 class folders, but CIFAR-10 has 10"),
    ("cifar10", missing_part, r"no folder 'test'"),
    ("cifar10", truncated_image, r"frog/0000\.png of CIFAR-10 is damaged or truncated"),
    ("cifar10", not_an_image, r"cat/0001\.png of CIFAR-10 is damaged"),
    ("cifar10", all_grey, r"all 20 images of a part are grey \(1 channel\)"),
    ("cifar10", transparent, r"cat/0001\.png has transparent pixels"),
    ("cifar10", packed, r"found the archive .*cifar-10-python\.tar\.gz"),
    ("gtsrb", csv_names_missing_image, r"GT-final_test\.csv names 00007\.ppm, which is missing"),
    ("gtsrb", no_table, r"test labels are missing"),
    ("gtsrb", odd_table, r"not a table with the columns Filename and ClassId"),
    ("gtsrb", truncated_ppm, r"00001/00000_00001\.ppm of GTSRB is damaged or truncated"),
    ("tiny_imagenet", wnids_without_folder, rf"{WNIDS[3]} is in one of them only"),
    ("tiny_imagenet", annotation_without_image, rf"names val_{WNIDS[9]}\.JPEG, which is missing"),
    ("tiny_imagenet", no_validation, r"val is missing"),
    ("tiny_imagenet", truncated_jpeg, rf"{WNIDS[5]}_0\.JPEG of Tiny ImageNet is damaged"),
    ("tiny_imagenet", missing_parquet, r"0 files valid-\*\.parquet"),
    ("tiny_imagenet", missing_shard, r"1 files train-\*\.parquet, but 2 files belong there"),
    ("tiny_imagenet", damaged_parquet, r"cannot be read as the parquet files"),
    ("casia_webface", lone_faces, r"too few to set a test part aside"),
    ("casia_webface", empty_identity, r"9999999 holds no image"),
]


@pytest.mark.parametrize(
    ("name", "spoil", "message"), BROKEN, ids=lambda v: getattr(v, "__name__", None)
)
def test_broken_files_are_named(name, spoil, message, tmp_path):
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        load(name, root=tmp_path, progress=False)
    assert not list((tmp_path / "cache").glob("*/")), "a failed build leaves nothing"


@pytest.mark.parametrize("name", DATASETS)
def test_missing_dataset_says_where_and_how(name, tmp_path):
    with pytest.raises(DataError) as error:
        load(name, root=tmp_path, progress=False)
    assert DATASETS[name].obtain in str(error.value)
    assert "data folder" in str(error.value)
    assert "data='standin'" in str(error.value)


def test_a_few_grey_images_become_rgb_and_are_counted(tmp_path):
    save(cifar10_folders(tmp_path) / "train" / "cat" / "0001.png", picture(8, 1))
    dataset = load("cifar10", root=tmp_path, image_size=8, progress=False)
    assert "pool: 1 grey images were given three channels." in dataset.notes


# Names, sizes, downloads


def test_unknown_dataset_names_the_nearest():
    with pytest.raises(SettingsError, match="Did you mean 'cifar10'"):
        load("cifar-10")


@pytest.mark.parametrize("size", [0, 3, 2000, 32.0, "32", True])
def test_odd_image_sizes_are_refused(size):
    with pytest.raises(SettingsError, match="image_size"):
        load("mnist", data="standin", image_size=size)


@pytest.mark.parametrize(
    ("name", "maker", "place"),
    [
        ("mnist", "MNIST", "."),
        ("cifar10", "CIFAR10", "CIFAR10"),
        ("cifar100", "CIFAR100", "CIFAR100"),
        ("gtsrb", "GTSRB", "."),
    ],
)
def test_download_asks_torchvision(name, maker, place, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        f"torchvision.datasets.{maker}", lambda root, **options: asked.append((root, options))
    )
    download(name, tmp_path)
    assert asked
    assert all(root == str(tmp_path / place) for root, _ in asked)
    assert all(options["download"] for _, options in asked)


def test_download_of_tiny_imagenet(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "torchvision.datasets.utils.download_and_extract_archive",
        lambda url, root, md5: asked.append((url, root, len(md5))),
    )
    download("tiny_imagenet", tmp_path)
    url = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
    assert asked == [(url, str(tmp_path), 32)]


def test_download_without_network_says_what_to_do(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.MNIST", fail)
    with pytest.raises(DataError, match=r"MNIST could not be downloaded .* no route .*MNIST/raw"):
        download("mnist", tmp_path)


def test_casia_is_not_downloaded(tmp_path):
    with pytest.raises(DataError, match="cannot be downloaded freely"):
        download("casia_webface", tmp_path)


def test_importing_the_registry_is_light():
    heavy = {"torch", "torchvision", "pyarrow", "sklearn", "pandas"}
    code = f"import sys, amint_core.datasets; print({heavy} & set(sys.modules))"
    result = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
