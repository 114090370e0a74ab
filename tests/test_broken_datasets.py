"""Files that are missing, damaged or of another kind: each is refused by its name."""

import numpy as np
import pytest
from dataset_trees import (
    WNIDS,
    cifar10_folders,
    cifar_pickles,
    class_folders,
    gtsrb_torchvision,
    idx,
    mnist_folders,
    mnist_gz,
    mnist_idx,
    picture,
    save,
    tiny_official,
    tiny_parquet,
)
from PIL import EpsImagePlugin

from amint_core.data import load
from amint_core.data.cifar import CIFAR10_CLASSES
from amint_core.errors import DataError


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
    (
        "tiny_imagenet",
        damaged_parquet,
        r"parquet, one of the parquet files of Tiny ImageNet, cannot be read",
    ),
    ("casia_webface", lone_faces, r"too few to set a test part aside"),
]


@pytest.mark.parametrize(
    ("name", "spoil", "message"), BROKEN, ids=lambda v: getattr(v, "__name__", None)
)
def test_broken_files_are_named(name, spoil, message, tmp_path):
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        load(name, root=tmp_path, progress=False)
    assert not list((tmp_path / "cache").glob("*/")), "a failed build leaves nothing"


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


def test_gtsrb_names_without_track_are_refused(tmp_path):
    home = gtsrb_torchvision(tmp_path)
    save(home / "GTSRB" / "Training" / "00003" / "sign.ppm")
    with pytest.raises(DataError, match=r"sign\.ppm: the name tells no track"):
        load("gtsrb", root=tmp_path, progress=False)


@pytest.mark.parametrize("label", [10, 255])
def test_labels_that_are_no_class_are_refused_before_anything_is_decoded(tmp_path, label):
    path = mnist_idx(tmp_path) / "train-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-1] = label
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"image 19 of the pool has label {label}, but MNIST has"):
        load("mnist", root=tmp_path, progress=False)
    assert not list((tmp_path / "cache").glob("*/"))


def test_classes_of_a_table_that_do_not_exist_are_refused(tmp_path):
    table = gtsrb_torchvision(tmp_path) / "GT-final_test.csv"
    table.write_text(table.read_text().replace("7;7;42\n", "7;7;43\n"))
    with pytest.raises(
        DataError, match=r"image 42 of the test has label 43, but GTSRB has .* 0 to 42"
    ):
        load("gtsrb", root=tmp_path, progress=False)


def test_a_file_that_would_start_another_program_is_not_opened(tmp_path, monkeypatch):
    """An EPS, whatever its name: Pillow would start Ghostscript."""
    path = cifar10_folders(tmp_path) / "train" / "cat" / "0001.png"
    picture(8).save(path, "EPS")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(
        DataError, match=r"cat/0001\.png .* none of JPEG, PNG, PPM, BMP, WEBP, TIFF"
    ):
        load("cifar10", root=tmp_path, progress=False)
