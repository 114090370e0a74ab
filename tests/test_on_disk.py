"""What people have on disk: read with the right labels, passed over with a count, or refused."""

import gzip
import io
import json
import os
import struct
from subprocess import run
from sys import executable

import numpy as np
import pytest
from dataset_parts import official_test_of, pool_of
from dataset_trees import (
    RECORD,
    RNG,
    WNIDS,
    casia_folders,
    cifar10_folders,
    cifar_binary,
    class_folders,
    gtsrb_png,
    gtsrb_torchvision,
    insightface_records,
    mnist_folders,
    mnist_gz,
    mnist_idx,
    picture,
    record,
    save,
    tiny_official,
)
from PIL import Image

from amint_core.data import DATASETS, download, load, status
from amint_core.data.cifar import CIFAR10_CLASSES
from amint_core.errors import DataError, SettingsError
from amint_core.locations import data_root

DIGITS = [str(number) for number in range(10)]


def opened(name, root, size=8):
    return load(name, root=root, image_size=size, progress=False)


def encoded(channels=3, kind="PNG"):
    stream = io.BytesIO()
    picture(8, channels).save(stream, kind)
    return stream.getvalue()


def table_of(path, cells, labels, image="image", label="label", **how):
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table({image: cells, label: labels}), path, **how)


# Layouts


def keras_archive(root):
    (root / "mnist").mkdir()
    arrays = {"x_train": RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8)}
    arrays |= {"x_test": RNG.integers(0, 256, (10, 28, 28), dtype=np.uint8)}
    labels = {"y_train": np.arange(20) % 10, "y_test": np.arange(10)}
    np.savez_compressed(root / "mnist" / "mnist.npz", **arrays, **labels)


def pixel_tables(root, header=True):
    (root / "MNIST" / "csv").mkdir(parents=True)
    for name, count in (("mnist_train.csv", 20), ("mnist_test.csv", 10)):
        rows = np.column_stack([np.arange(count) % 10, RNG.integers(0, 256, (count, 784))])
        first = ",".join(["label", *map(str, range(784))]) if header else ""
        np.savetxt(root / "MNIST" / "csv" / name, rows, "%d", ",", header=first, comments="")
        if not header:
            path = root / "MNIST" / "csv" / name
            path.write_text(path.read_text().lstrip("\n"))


def bare_pixel_tables(root):
    pixel_tables(root, header=False)


def hub_digits(root):
    for split, count in (("train", 20), ("test", 10)):
        cells = [{"bytes": encoded(1), "path": None} for _ in range(count)]
        table_of(
            root
            / "datasets--someone--mnist"
            / "snapshots"
            / "0a1"
            / "mnist"
            / f"{split}-0.parquet",
            cells,
            [number % 10 for number in range(count)],
        )


def idx_under_roots_of_their_own(root):
    mnist_idx(root / "fetched" / "for_training")


def idx_with_a_folder_for_each_file(root):
    folder = mnist_idx(root)
    for path in list(folder.iterdir()):
        path.rename(folder / "file")
        path.mkdir()
        (folder / "file").rename(path / path.name)


def idx_under_other_names(root):
    folder = mnist_idx(root)
    for path in list(folder.iterdir()):
        name = path.name.replace("t10k", "TEST").replace("-idx", ".idx").removesuffix("-ubyte")
        path.rename(folder / name.replace("-", "_"))


def idx_packed_and_unpacked_under_the_other_name(root):
    folder = mnist_idx(root)
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(path.read_bytes()))
    (folder / "t10k-images-idx3-ubyte").rename(folder / "t10k-images-idx3-ubyte.gz")


def idx_half_in_raw(root):
    folder = mnist_idx(root)
    for path in list(folder.glob("t10k*")):
        path.rename(folder.parent / path.name)


def keras_archive_with_an_axis_for_the_channel(root):
    keras_archive(root)
    path = root / "mnist" / "mnist.npz"
    with np.load(path) as arrays:
        found = {name: array[..., None] for name, array in arrays.items()}
    path.unlink()
    np.savez(root / "mnist" / "MNIST.npz", **found)


def pixel_tables_of_a_spreadsheet(root):
    pixel_tables(root)
    for path in list((root / "MNIST" / "csv").iterdir()):
        lines = path.read_text().splitlines()
        lines = [f"{number};{line}" for number, line in enumerate(lines, -1)]
        lines[0] = lines[0].replace("-1;", ";")
        lines[1] = lines[1].rsplit(",", 1)[0] + ";7|0"  # 7,0
        text = "\r\n".join(["sep=;", *lines]).replace(",", ";").replace("|", ",")
        path.with_name(path.name.replace("_", "-").upper()).write_text(text, encoding="utf-16")
        path.unlink()


def hub_digits_in_a_folder_for_each_split(root):
    for split, count in (("train", 20), ("test", 10)):
        labels = [float(number % 10) for number in range(count)]
        path = root / "someone___mnist" / "default" / split / "0000.parquet"
        table_of(path, [encoded(1) for _ in labels], labels)


def hub_digits_named_for_their_dataset(root):
    for split, count in (("train", 20), ("test", 10)):
        labels = [str(number % 10) for number in range(count)]
        table_of(root / "MNIST" / f"mnist_{split}.parquet", [encoded(1) for _ in labels], labels)


def copy_by_a_browser(root):
    mnist_idx(root).parent.rename(root / "MNIST (1)")


def the_root_itself(root):
    mnist_idx(root)
    return root / "MNIST"


@pytest.mark.parametrize(
    "make",
    [
        keras_archive,
        pixel_tables,
        bare_pixel_tables,
        hub_digits,
        idx_under_roots_of_their_own,
        idx_with_a_folder_for_each_file,
        idx_under_other_names,
        idx_packed_and_unpacked_under_the_other_name,
        idx_half_in_raw,
        keras_archive_with_an_axis_for_the_channel,
        pixel_tables_of_a_spreadsheet,
        hub_digits_in_a_folder_for_each_split,
        hub_digits_named_for_their_dataset,
        copy_by_a_browser,
        the_root_itself,
    ],
)
def test_digits_are_read_from(make, tmp_path):
    dataset = opened("mnist", make(tmp_path) or tmp_path, 28)
    assert list(pool_of(dataset).labels) == [number % 10 for number in range(20)]
    assert list(official_test_of(dataset).labels) == list(range(10))
    assert len(set(dataset.hashes)) == 30


@pytest.mark.parametrize("name", ["mnist_png", "MNIST-images-28x28", "mnist - Copy", "mnist (2)"])
def test_a_word_for_the_form_is_no_other_dataset(name, tmp_path):
    mnist_folders(tmp_path).rename(tmp_path / name)
    (tmp_path / "mnist-m").mkdir()
    dataset = opened("mnist", tmp_path)
    assert list(pool_of(dataset).labels) == sorted(2 * list(range(10)))
    assert not any("not read" in note for note in dataset.notes)


def test_arrays_and_tables_are_read_exactly(tmp_path):
    keras_archive(tmp_path)
    dataset = opened("mnist", tmp_path, 28)
    with np.load(tmp_path / "mnist" / "mnist.npz") as arrays:
        np.testing.assert_array_equal(pool_of(dataset).pixels[..., 0], arrays["x_train"])
    pixel_tables(other := tmp_path / "other")
    dataset = opened("mnist", other, 28)
    rows = np.loadtxt(other / "MNIST" / "csv" / "mnist_test.csv", delimiter=",", skiprows=1)
    np.testing.assert_array_equal(
        official_test_of(dataset).pixels.reshape(10, 784), rows[:, 1:].astype(np.uint8)
    )


@pytest.mark.parametrize(("image", "label"), [("img", "label"), ("image", "labels")])
@pytest.mark.parametrize("wrapped", [True, False])
def test_cifar_is_read_from_parquet(image, label, wrapped, tmp_path):
    for split, count in (("train", 20), ("test", 10)):
        cells = [{"bytes": encoded(), "path": ""} if wrapped else encoded() for _ in range(count)]
        labels = [number % 10 for number in range(count)]
        path = tmp_path / "cifar10" / "plain_text" / f"{split}-00000-of-00001.parquet"
        table_of(path, cells, labels, image, label)
    dataset = opened("cifar10", tmp_path)
    assert list(pool_of(dataset).labels) == 2 * list(range(10))
    assert dataset.class_names == CIFAR10_CLASSES


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_row_groups_of_parquet_are_read_in_order(rows, wrapped, tmp_path):
    images = {}
    for split, count in (("train", 600), ("test", 20)):
        cells = images[split] = [encoded() for _ in range(count)]
        if wrapped:
            cells = [{"bytes": cell, "path": None} for cell in cells]
        labels = [number % 10 for number in range(count)]
        path = tmp_path / "cifar10" / f"{split}-00000-of-00001.parquet"
        table_of(path, cells, labels, "img", row_group_size=rows, dictionary_pagesize_limit=20_000)
    dataset = opened("cifar10", tmp_path)
    wanted = [Image.open(io.BytesIO(cell)) for cell in images["train"] + images["test"]]
    np.testing.assert_array_equal(dataset.pixels, np.stack([np.asarray(one) for one in wanted]))


def named_otherwise(path, names):
    import pyarrow as pa
    from pyarrow import parquet

    features = {"info": {"features": {"label": {"names": names}}}}
    table = pa.table({"image": [encoded(1)] * 10, "label": list(range(10))})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)


@pytest.mark.parametrize("other", ["test-00000-of-00001", "train-00001-of-00002"])
def test_files_that_number_the_classes_otherwise_are_refused(other, tmp_path):
    digits = [str(digit) for digit in range(10)]
    shards = 2 if other.startswith("train") else 1
    for name in {f"train-00000-of-0000{shards}", "test-00000-of-00001", other}:
        named_otherwise(tmp_path / "mnist" / f"{name}.parquet", digits)
    assert opened("mnist", tmp_path).class_names == tuple(digits)
    named_otherwise(tmp_path / "mnist" / f"{other}.parquet", digits[::-1])
    with pytest.raises(DataError, match="do not belong together"):
        load("mnist", root=tmp_path, image_size=8, progress=False, rebuild=True)


@pytest.mark.parametrize(("name", "number"), [("cifar10", 10), ("cifar100", 100)])
def test_cifar_is_read_from_its_binary_version(name, number, tmp_path):
    folder = cifar_binary(tmp_path, number, images=number)
    dataset = opened(name, tmp_path, size=32)
    parts = number // 100 or 5  # files of the pool
    assert list(dataset.labels) == [*range(number)] * (parts + 1)
    assert (
        dataset.class_names[:2] == {10: CIFAR10_CLASSES[:2], 100: ("thing000", "thing001")}[number]
    )
    raw = np.frombuffer(max(folder.glob("test*.bin")).read_bytes(), np.uint8).reshape(number, -1)
    planes = raw[:, -3072:].reshape(number, 3, 32, 32)
    np.testing.assert_array_equal(official_test_of(dataset).pixels, planes.transpose(0, 2, 3, 1))


def sorted_and_padded(root):
    home = gtsrb_png(root)
    for label in range(43):
        save(home / "Test" / f"{label:05}" / "a.png")
        (home / "Test" / f"{label:05}.png").unlink()
    (home / "Test.csv").unlink()


def sorted_beside_its_table(root):
    home = gtsrb_png(root)
    for label in range(43):
        place = home / "Test" / str(label)
        place.mkdir()
        (home / "Test" / f"{label:05}.png").rename(place / f"{label:05}.png")


def written_on_windows(root):
    table = gtsrb_png(root) / "Test.csv"
    table.write_text(table.read_text().replace("Test/", "Test\\"))


def saved_by_a_spreadsheet(root):
    table = gtsrb_png(root) / "Test.csv"
    table.write_text(table.read_text().replace(",", "\t"), encoding="utf-16")


def in_utf_32_with_bars_and_empty_rows(root):
    table = gtsrb_png(root) / "Test.csv"
    text = table.read_text().replace(",", "|").replace("\n", "\n|||\n")
    table.write_text(text, encoding="utf-32")


def as_kaggle_calls_it(root):
    gtsrb_png(root).rename(root / "gtsrb-german-traffic-sign")


def two_archives(root):
    home = gtsrb_torchvision(root)
    (home / "GTSRB" / "Training").rename(home / "training_part")
    (home / "training_part").rename(home / "Training")


def retyped(root):
    table = gtsrb_png(root) / "Test.csv"
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    lines = [f'8;8;"{number},0";{path.upper()}' for _, _, number, path in rows]
    table.write_text("\n".join(["sep=;", "WIDTH;HEIGHT; Class Id;PATH", *lines, lines[0]]))


def in_capitals(root):
    home = gtsrb_png(root)
    for name in ("Train", "Test", "Test.csv"):
        (home / name).rename(home / name.swapcase())


def wrapped_once_more(root):
    home = gtsrb_png(root)
    for name in ("Train", "Test"):
        (home / name).rename(home / "inner")
        (home / name).mkdir()
        (home / "inner").rename(home / name / "images")


def converted_images(root):
    table = gtsrb_png(root) / "Test.csv"
    table.write_text(table.read_text().replace(".png", ".ppm"))


def archives_side_by_side(root):
    home = gtsrb_torchvision(root)
    for name, piece in (("Training", "Final_Training"), ("Test", "Final_Test")):
        place = root / f"GTSRB_Final_{name}_Images" / "GTSRB" / piece
        place.parent.mkdir(parents=True)
        if name == "Training":
            place.mkdir()
        (home / "GTSRB" / ("Training" if name == "Training" else piece)).rename(
            place / "Images" if name == "Training" else place
        )
    (root / "GTSRB_Final_Test_GT").mkdir()
    (home / "GT-final_test.csv").rename(root / "GTSRB_Final_Test_GT" / "GT-final_test.csv")
    (home / "GTSRB").rmdir()
    home.rmdir()


def table_beside_the_folder(root):
    home = gtsrb_torchvision(root)
    (home / "GT-final_test.csv").rename(root / "GT-final_test.csv")


@pytest.mark.parametrize(
    "make",
    [
        retyped,
        in_capitals,
        wrapped_once_more,
        converted_images,
        archives_side_by_side,
        table_beside_the_folder,
        sorted_and_padded,
        sorted_beside_its_table,
        written_on_windows,
        saved_by_a_spreadsheet,
        in_utf_32_with_bars_and_empty_rows,
        as_kaggle_calls_it,
        two_archives,
    ],
)
def test_signs_are_read_from(make, tmp_path):
    make(tmp_path)
    dataset = opened("gtsrb", tmp_path)
    assert list(official_test_of(dataset).labels) == list(range(43))
    assert list(pool_of(dataset).labels) == list(np.repeat(range(43), 4))


def validation_sorted_with_the_list_left(root):
    home = tiny_official(root) / "val"
    for wnid in WNIDS:
        (home / wnid).mkdir()
        (home / "images" / f"val_{wnid}.JPEG").rename(home / wnid / f"val_{wnid}.JPEG")


def lists_with_byte_order_marks(root):
    home = tiny_official(root)
    for path in (home / "wnids.txt", home / "words.txt", home / "val" / "val_annotations.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))


def validation_under_its_long_name(root):
    home = tiny_official(root)
    (home / "val").rename(home / "Validation")
    (home / "train").rename(home / "TRAIN")


def lists_from_a_spreadsheet(root):
    home = tiny_official(root)
    table, wnids = home / "val" / "val_annotations.txt", home / "wnids.txt"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    rows = [f'"images\\{name}";"{wnid}"' for name, wnid, *_ in lines]
    table.write_text("\n".join(["File;Class", *rows]))
    wnids.write_text("\n".join(f"{wnid},a thing" for wnid in wnids.read_text().split()))


def list_parted_by_blanks(root):
    table = tiny_official(root) / "val" / "val_annotations.txt"
    table.write_text(table.read_text().replace("\t", " "))


@pytest.mark.parametrize(
    "make",
    [
        validation_sorted_with_the_list_left,
        lists_with_byte_order_marks,
        validation_under_its_long_name,
        list_parted_by_blanks,
        lists_from_a_spreadsheet,
    ],
)
def test_tiny_imagenet_is_read_from(make, tmp_path):
    make(tmp_path)
    dataset = opened("tiny_imagenet", tmp_path)
    assert list(official_test_of(dataset).labels) == list(range(200))


def test_identities_in_one_folder_more(tmp_path):
    casia_folders(tmp_path)
    (tmp_path / "CASIA-WebFace").rename(tmp_path / "faces")
    (tmp_path / "CASIA-WebFace").mkdir()
    (tmp_path / "faces").rename(tmp_path / "CASIA-WebFace" / "aligned")
    assert opened("casia_webface", tmp_path).num_classes == 30


def test_packed_faces_are_those_of_the_folders(tmp_path):
    """The magic number stands in one of the images, which is cut there."""
    rng, folders = np.random.default_rng(3), tmp_path / "folders" / "CASIA-WebFace"
    for key in range(1, 61):
        comment = b"1234" + RECORD + b"5" + RECORD if key == 7 else b""
        path = folders / str(1 + key // 9) / f"{key}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path, comment=comment)
    packed = insightface_records(tmp_path / "packed", folders)
    assert packed.joinpath("train.rec").read_bytes().count(RECORD) == 63 + 2
    found = [opened("casia_webface", root) for root in (folders.parent, packed.parent)]
    for kind in ("pixels", "labels", "official_test"):
        np.testing.assert_array_equal(*(getattr(dataset, kind) for dataset in found))
    assert found[0].class_names == found[1].class_names == tuple("1234567")
    assert 0 < found[0].official_test.sum() < 10


def test_identities_without_images_are_left_out_and_counted(tmp_path):
    (casia_folders(tmp_path) / "9999999").mkdir()
    dataset = opened("casia_webface", tmp_path)
    assert dataset.num_classes == 30
    assert "files: 1 identities without images were left out." in dataset.notes


# Passed over, with a count


def test_what_systems_leave_behind_is_no_class_and_no_image(tmp_path):
    home = casia_folders(tmp_path)
    before = opened("casia_webface", tmp_path).fingerprint
    for name in ("@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN"):
        save(home / name / "thumb.jpg")
    for name in ("Thumbs.db", "desktop.ini", "._001.jpg", "face.heic", "clip.MP4"):
        (home / "0000003" / name).write_bytes(b"\0\1")
    dataset = opened("casia_webface", tmp_path)
    assert dataset.fingerprint == before
    note = next(note for note in load_anew(tmp_path).notes if "passed over" in note)
    for part in ("1 @eaDir", "1 __MACOSX", "1 .heic", "1 .mp4"):
        assert part in note or "more kinds" in note
    assert "more kinds" in note


def load_anew(root):
    return load("casia_webface", root=root, image_size=8, progress=False, rebuild=True)


def test_images_under_rarer_suffixes_are_read(tmp_path):
    home = cifar10_folders(tmp_path)
    picture().convert("P").save(home / "train" / "cat" / "a.gif")
    picture().save(home / "train" / "cat" / "b.jfif", "JPEG")
    (home / "train" / "cat" / "c.psd").write_bytes(b"8BPS")
    (home / "splits").mkdir()
    save(home / "splits" / "other.png")
    dataset = opened("cifar10", tmp_path)
    assert len(pool_of(dataset).labels) == 22
    for said in ("1 GIF files", "1 JPEG files", "1 .psd", "1 .png"):
        assert any(said in note for note in dataset.notes), said


def test_grey_digits_saved_in_colour_are_read(tmp_path):
    home = mnist_folders(tmp_path)
    grey = picture(8, 1)
    save(home / "train" / "3" / "0000.png", grey.convert("RGB"))
    dataset = opened("mnist", tmp_path)
    np.testing.assert_array_equal(pool_of(dataset).pixels[6, ..., 0], np.asarray(grey))
    assert "pool: 1 grey images were saved in colour." in dataset.notes


def test_images_that_the_list_does_not_name_are_counted(tmp_path):
    save(gtsrb_png(tmp_path) / "Test" / "99999.png")
    notes = opened("gtsrb", tmp_path).notes
    assert "test: 1 images that Test.csv does not name were left out." in notes


def test_rows_of_a_table_that_repeat_another_are_counted(tmp_path):
    retyped(tmp_path)
    notes = opened("gtsrb", tmp_path).notes
    assert "test: 1 rows of Test.csv that repeat another were left out." in notes


def test_a_second_folder_of_the_same_name_is_told_of(tmp_path):
    mnist_idx(tmp_path)
    (tmp_path / "mnist_").mkdir()
    notes = opened("mnist", tmp_path, 28).notes
    assert any("not read:" in note and "mnist_" in note for note in notes)


# Refused, in words


def dangling_link(root):
    (cifar10_folders(root) / "train" / "cat" / "9.png").symlink_to(root / "gone.png")


def looping_link(root):
    (cifar10_folders(root) / "train" / "cat" / "9.png").symlink_to("9.png")


def named_pipe(root):
    os.mkfifo(cifar10_folders(root) / "train" / "cat" / "9.png")


def empty_image(root):
    (cifar10_folders(root) / "train" / "cat" / "0000.png").write_bytes(b"")


def name_in_another_encoding(root):
    os.mkdir(os.fsencode(cifar10_folders(root) / "train") + b"/Mu\xf1oz")


def validation_for_test(root):
    home = cifar10_folders(root)
    (home / "test").rename(home / "val")


def digits_without_classes(root):
    home = class_folders(root / "MNIST", DIGITS, channels=1)
    for path in list((home / "test").rglob("*.png")):
        path.rename(home / "test" / f"{path.parent.name}.png")
    for number in DIGITS:
        (home / "test" / number).rmdir()


def folders_in_classes(root):
    home = cifar10_folders(root)
    (home / "train" / "cat").rename(home / "cat")
    (home / "train" / "cat").mkdir()
    (home / "cat").rename(home / "train" / "cat" / "tabby")


def packed(root):
    folders = root / "unpacked"
    for number in range(24):
        save(folders / str(number % 2) / f"{number}.jpg")
    return insightface_records(root, folders) / "train.rec"


def records_cut_short(root):
    path = packed(root)
    path.write_bytes(path.read_bytes()[:-33])


def records_overwritten(root):
    path = packed(root)
    path.write_bytes(b"no records" + path.read_bytes()[10:])


def records_of_no_identity(root):
    path = packed(root)
    path.write_bytes(path.read_bytes() + record(struct.pack("<IfQQ", 0, 0.5, 99, 0) + b"image"))


def records_of_nobody(root):
    packed(root).write_bytes(record(struct.pack("<IfQQ", 0, 0, 0, 0)))


def other_records(root):
    path = packed(root)
    path.rename(path.with_name("faces.rec"))


def binary_cut_short(root):
    path = cifar_binary(root) / "test_batch.bin"
    path.write_bytes(path.read_bytes()[:-1])


def binary_without_names(root):
    (cifar_binary(root) / "batches.meta.txt").unlink()


def binary_of_other_classes(root):
    table = cifar_binary(root, 100) / "fine_label_names.txt"
    table.write_text(table.read_text().replace("thing099", ""))


def other_columns(root):
    for split in ("train", "test"):
        table_of(root / "CIFAR10" / f"{split}.parquet", [encoded()], [0], "picture")


def null_label(root):
    for split in ("train", "test"):
        table_of(root / "CIFAR10" / f"{split}.parquet", [encoded()] * 3, [0, None, 1])


def labels_in_words(root):
    for split in ("train", "test"):
        table_of(root / "CIFAR10" / f"{split}.parquet", [encoded()], ["cat"])


def unlabelled(root):
    for split in ("train", "test"):
        table_of(root / "CIFAR10" / f"{split}.parquet", [encoded()], [-1])


def paths_for_images(root):
    for split in ("train", "test"):
        cells = [{"bytes": encoded(), "path": ""}, {"bytes": None, "path": "/there/1.png"}]
        table_of(root / "CIFAR10" / f"{split}.parquet", cells, [0, 1])


def lists_for_images(root):
    for split in ("train", "test"):
        table_of(root / "CIFAR10" / f"{split}.parquet", [[1, 2], [3]], [0, 1])


def no_image_in_a_row(root):
    for split in ("train", "test"):
        table_of(root / "CIFAR10" / f"{split}.parquet", [encoded(), None], [0, 1])


def table_in_latin(root):
    table = gtsrb_png(root) / "Test.csv"
    table.write_bytes(table.read_bytes() + b"8,8,3,Test/Stra\xdfe.png\n")


def dangling_class(root):
    home = cifar10_folders(root)
    (home / "train" / "cat").rename(home / "cat")
    (home / "train" / "cat").symlink_to(root / "gone")


def dangling_part(root):
    home = cifar10_folders(root)
    (home / "train").rename(home / "kept")
    (home / "train").symlink_to("train")


def dangling_table(root):
    table = gtsrb_png(root) / "Test.csv"
    table.unlink()
    table.symlink_to(root / "gone.csv")


def table_that_is_a_pipe(root):
    table = gtsrb_png(root) / "Test.csv"
    table.unlink()
    os.mkfifo(table)


def table_of_a_spreadsheet(root):
    home = gtsrb_png(root)
    (home / "Test.csv").rename(home / "Test.xlsx")


def class_that_links_to_all(root):
    home = cifar10_folders(root)
    (home / "train" / "more").symlink_to(home / "train")


def dangling_dataset(root):
    (root / "CIFAR10").symlink_to(root / "gone")


def pointer_of_git(root):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    (cifar10_folders(root) / "train" / "cat" / "0001.png").write_text(text)


def download_cut_off(root):
    (root / "cifar-10-python.tar.gz.part").write_bytes(b"\x1f\x8b")


def labels_from_one(root):
    for split in ("train", "test"):
        table_of(root / "CIFAR10" / f"{split}.parquet", [encoded()] * 10, list(range(1, 11)))


def copied_shard(root):
    for name in ("train-0-of-1", "train-0-of-1 (1)", "test-0-of-1"):
        table_of(root / "CIFAR10" / f"{name}.parquet", [encoded()], [0])


def arrays_under_other_names(root):
    (root / "mnist").mkdir()
    np.savez(root / "mnist" / "mnist.npz", images=np.zeros(3), labels=np.zeros(3))


def unlabelled_table(root):
    (root / "mnist").mkdir()
    for name in ("train.csv", "test.csv"):
        (root / "mnist" / name).write_text(",".join(f"pixel{n}" for n in range(784)) + "\n")


def another_text_as_gz(root):
    (mnist_gz(root) / "train-images-idx3-ubyte.gz").write_text("<!DOCTYPE html> 404 Not found")


def table_without_byte_order_mark(root):
    table = gtsrb_png(root) / "Test.csv"
    table.write_text(table.read_text(), encoding="utf-16-le")


def csv_with_labels_last(root):
    (root / "mnist").mkdir()
    rows = "".join(f"{'0,' * 784}{digit}\n" for digit in range(10))
    for name in ("mnist_train.csv", "mnist_test.csv"):
        (root / "mnist" / name).write_text(rows)


def csv_with_a_row_too_long(root):
    csv_with_labels_last(root)
    heading = ",".join([*(f"pixel{n}" for n in range(784)), "label"])
    for name in ("mnist_train.csv", "mnist_test.csv"):
        path = root / "mnist" / name
        path.write_text(f"{heading}\n{path.read_text()}{'0,' * 785}3\n")


def table_with_a_column_twice(root):
    table = gtsrb_png(root) / "Test.csv"
    table.write_text(table.read_text().replace("Width", "ClassId"))


def table_of_other_columns(root):
    table = gtsrb_png(root) / "Test.csv"
    table.write_text(table.read_text().replace("ClassId", "Sign"))


def half_unpacked_beside_the_archive(root):
    path = mnist_gz(root) / "train-images-idx3-ubyte"
    path.write_bytes(gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())[:999])


def fashion(root):
    mnist_idx(root).parent.rename(root / "FashionMNIST")


REFUSED = [
    ("cifar10", dangling_link, r"cat/9\.png is a link to what is not there"),
    ("cifar10", looping_link, r"cat/9\.png is a link to what is not there"),
    ("cifar10", named_pipe, r"cat/9\.png is no file \(a folder, a pipe"),
    ("cifar10", empty_image, r"cat/0000\.png is empty"),
    ("cifar10", name_in_another_encoding, r"train/Mu\\xf1oz has a name that is no UTF-8"),
    ("cifar10", validation_for_test, r"holds train, val, but no folder 'test'"),
    ("mnist", digits_without_classes, r"holds test, train, but no folder 'test' with images"),
    ("cifar10", folders_in_classes, r"train/cat holds no image, but folders"),
    ("casia_webface", records_cut_short, r"train\.rec ends within a record at byte"),
    ("casia_webface", records_overwritten, r"train\.rec holds no record at byte"),
    ("casia_webface", records_of_no_identity, r"has the label 0\.5, which is no identity's number"),
    ("casia_webface", records_of_nobody, r"train\.rec holds images of 0 identities, but CASIA"),
    (
        "casia_webface",
        other_records,
        r"faces\.rec, which is not read: .* called train\.rec",
    ),
    ("cifar10", binary_cut_short, r"test_batch\.bin holds no whole number of records"),
    ("cifar10", binary_without_names, r"batches\.meta\.txt is missing: the dataset is half"),
    ("cifar100", binary_of_other_classes, r"fine_label_names\.txt names 99 classes, not 100"),
    ("cifar10", other_columns, r"has the columns picture, label, but none of image, img"),
    ("cifar10", null_label, r"train\.parquet: row 1 has no label"),
    ("cifar10", labels_in_words, r"its 1 labels are string, but must be whole numbers"),
    ("cifar10", unlabelled, r"image 0 of the pool has label -1"),
    ("cifar10", paths_for_images, r"row 1 holds no image, but the path /there/1\.png"),
    ("cifar10", lists_for_images, r"row 0 holds no image, but list"),
    ("cifar10", no_image_in_a_row, r"row 1 holds no image"),
    ("gtsrb", table_in_latin, r"Test\.csv is not in UTF-8 .* Save it as UTF-8"),
    ("cifar10", dangling_class, r"train/cat is a link to what is not there"),
    ("cifar10", dangling_part, r"cifar-10/train is a link to what is not there"),
    ("cifar10", class_that_links_to_all, r"train/more holds no image, but folders"),
    ("gtsrb", dangling_table, r"Test\.csv is a link to what is not there"),
    ("gtsrb", table_that_is_a_pipe, r"Test\.csv is no file \(a folder, a pipe"),
    ("gtsrb", table_of_a_spreadsheet, r"with Test, Test\.xlsx, Train\): the test labels"),
    ("cifar10", dangling_dataset, r"CIFAR10 is a link to .*gone, which is not there"),
    ("cifar10", pointer_of_git, r"cat/0001\.png stands for a file that Git LFS keeps"),
    ("cifar10", download_cut_off, r"tar\.gz\.part, .* its download was cut off"),
    ("cifar10", labels_from_one, r"has label 10, .* They seem to count from 1"),
    (
        "cifar10",
        copied_shard,
        r"2 files train-.*, but one file belongs there: some are copies",
    ),
    ("mnist", arrays_under_other_names, r"holds the arrays images, labels, but not x_test"),
    ("mnist", unlabelled_table, r"train\.csv has 784 columns, none of which is called label"),
    ("mnist", another_text_as_gz, r"images-idx3-ubyte\.gz is not an idx file of images"),
    ("gtsrb", table_without_byte_order_mark, r"Test\.csv is no text, or .* without a byte-order"),
    ("mnist", csv_with_labels_last, r"the labels, is 0 in each row"),
    ("mnist", csv_with_a_row_too_long, r"mnist_train\.csv, line 12 has 786 cells, not 785"),
    ("gtsrb", table_with_a_column_twice, r"Test\.csv has two columns of one name"),
    ("gtsrb", table_of_other_columns, r"Test\.csv is not a table .* has Width, Height, Sign, Path"),
    ("mnist", half_unpacked_beside_the_archive, r"truncated .*ubyte\.gz beside it is then read"),
    ("mnist", fashion, r"no images under .* \(with FashionMNIST; MNIST is looked for\)"),
]


@pytest.mark.parametrize(
    ("name", "make", "message"), REFUSED, ids=lambda v: getattr(v, "__name__", "")
)
def test_refused(name, make, message, tmp_path):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        opened(name, tmp_path)
    assert len(status(tmp_path)) == len(DATASETS), "no dataset hides the others"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",,6,", r"Test\.csv, line 45: '' with the class '6'"),
        ("8,8", r"Test\.csv, line 45: None with the class None"),
        ("8,8,3,Test/00007.png", r"Test\.csv gives 00007\.png the classes 7 and 3"),
        ("8,8,,Test/00007.png", r"Test\.csv, line 45: 'Test/00007\.png' with the class ''"),
    ],
    ids=["a total", "too short", "two classes", "no class"],
)
def test_a_row_of_a_table_is_refused(row, message, tmp_path):
    table = gtsrb_png(tmp_path) / "Test.csv"
    table.write_text(f"{table.read_text()}{row}\n")
    with pytest.raises(DataError, match=message):
        opened("gtsrb", tmp_path)
    assert len(status(tmp_path)) == len(DATASETS), "no dataset hides the others"


def test_a_broken_dataset_does_not_hide_the_others(tmp_path):
    dangling_link(tmp_path)
    mnist_idx(tmp_path)
    found = {row["dataset"]: row["found"] for row in status(tmp_path)}
    assert found == {name: name == "mnist" for name in DATASETS}


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("$HOME{}", "A variable in it was not replaced"),
        ("{}/data ", "It ends in a blank"),
        ("{}/gone", "is to name the datasets' folder"),
    ],
)
def test_a_data_folder_that_is_none_is_said_so(value, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMINT_DATA", value.format(tmp_path))
    with pytest.raises(DataError, match=f"AMINT_DATA = .* is no folder.*{hint}"):
        load("mnist", progress=False)
    if "gone" not in value:
        with pytest.raises(DataError, match=hint):
            download("mnist")
        assert not data_root().exists()


def test_a_folder_with_many_numbers_in_its_name_is_passed_at_once(tmp_path):
    mnist_idx(tmp_path)
    (tmp_path / f"a{'x'.join(['1111'] * 40)}z").mkdir()
    assert len(opened("mnist", tmp_path).class_names) == 10


def test_a_data_folder_that_links_to_itself_is_said_so(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setenv("AMINT_DATA", str(tmp_path / "loop"))
    with pytest.raises(SettingsError, match="is a link that leads to itself"):
        load("mnist", progress=False)


# Bounds


def gzip_of_zeros(root):
    path = mnist_gz(root) / "train-images-idx3-ubyte.gz"
    head = struct.pack(">4I", 0x803, 2**31, 28, 28)
    path.write_bytes(gzip.compress(head) + 200 * gzip.compress(bytes(2**24)))


def repeated_cell(root):
    """A few kilobytes that hold one cell of 64 MB, 2,000 times."""
    import pyarrow as pa
    from pyarrow import parquet

    cell = pa.DictionaryArray.from_arrays(np.zeros(2000, np.int32), pa.array([bytes(2**26)]))
    (root / "MNIST").mkdir()
    for split in ("train", "test"):
        parquet.write_table(
            pa.table({"image": cell, "label": np.zeros(2000, np.int64)}),
            root / "MNIST" / f"{split}.parquet",
            dictionary_pagesize_limit=2**30,
            store_schema=False,
        )


@pytest.mark.parametrize("make", [gzip_of_zeros, repeated_cell])
def test_memory_is_bounded(make, tmp_path):
    make(tmp_path)
    code = (
        "from pathlib import Path; from amint_core.data import load\n"
        f"try: load('mnist', root=Path({str(tmp_path)!r}), progress=False)\n"
        "except Exception as error: print(type(error).__name__)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    environment = {**os.environ, "AMINT_CACHE": str(tmp_path / "cache")}
    done = run(
        [executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    kind, peak = done.stdout.split()
    assert kind == "DataError"
    assert int(peak) < 1_200_000  # kB
