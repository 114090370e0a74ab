"""Downloads: what is asked of torchvision, and what is said where nothing comes."""

import pytest

from amint_core.data import download
from amint_core.errors import DataError


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
