"""Folders as an auditor may hand them in, and a test that recognises images by their grain."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from amint_core.audit.preprocessing import Preprocessing

HOW = Preprocessing(16, 16)
SCRIPT = "<script>document.title='owned'<"  # a name cannot hold a slash
ONERROR = 'x"><img src=x onerror="document.title=\'owned\'">.png'


def pictures(seed: int, number: int, side: int = 16) -> np.ndarray:
    """Return (N, side, side, 3) uint8 images: patches of random colours, with grain."""
    random = np.random.default_rng(seed)
    patches = random.normal(128, 40, size=(number, 4, 4, 3))
    patches = patches.repeat(side // 4, axis=1).repeat(side // 4, axis=2)
    return (patches + random.normal(0, 9, size=patches.shape)).clip(0, 255).astype(np.uint8)


def recognises(members: np.ndarray):
    """Return a membership test: members score about 5, all others about 0."""
    known = {HOW.normalise(each[None]).numpy().tobytes() for each in members}

    def score(batch: Tensor) -> Tensor:
        # Noise that follows from the image alone, so that every run says the same.
        noise = (batch.double().sum(dim=(1, 2, 3)) * 1e4).frac()
        noise = torch.special.ndtri(noise.abs().clamp(1e-6, 1 - 1e-6))
        member = [each[None].numpy().tobytes() in known for each in batch]
        return noise + 5.0 * torch.tensor(member)

    return score


def fill(folder: Path, pixels: np.ndarray, prefix: str = "image") -> Path:
    """Write images as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{prefix}-{index:04d}.png")
    return folder


def bomb(side: int) -> bytes:
    """Return a PNG of a few kB whose header claims side × side grey pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    packed = zlib.compress(bytes(1 << 20), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def hazards(folder: Path) -> dict[str, str]:
    """Fill a folder with what must not stop an audit; return what is said of each file.

    A reason for those that are refused, a note for those that are used with a remark, "" for those
    that are ordinary images after all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    colour, grey = (
        Image.fromarray(each) for each in (pictures(5, 1)[0], pictures(5, 1)[0, :, :, 0])
    )
    colour.save(folder / "whole.png")
    (folder / "truncated.png").write_bytes((folder / "whole.png").read_bytes()[:400])
    colour.save(folder / "truncated.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "truncated.jpg").read_bytes()[:-60])
    (folder / "empty.png").write_bytes(b"")
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 256).save(folder / "16bit.png")
    colour.convert("P").save(folder / "palette.png")
    colour.convert("RGBA").save(folder / "opaque.png")
    transparent = colour.convert("RGBA")
    transparent.putpixel((3, 3), (0, 0, 0, 7))
    transparent.save(folder / "transparent.png")
    colour.save(folder / "animated.gif", save_all=True, append_images=[colour.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    colour.save(folder / "rotated.jpg", exif=exif)
    (folder / "bomb.png").write_bytes(bomb(30_000))
    (folder / "small-bomb.png").write_bytes(bomb(8_000))
    (folder / "vector.png").write_text("<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>")
    (folder / "page.jpg").write_text("<html><script>document.title='owned'</script></html>")
    colour.save(folder / SCRIPT, "PNG")
    colour.save(folder / ONERROR)
    colour.save(os.fsencode(folder) + b"/latin-\xe9.png", "PNG")
    colour.save(folder / "line\nbreak\u202e.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "linked.png").symlink_to("whole.png")
    (folder / "loop").symlink_to(".")
    (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    for place in ("__MACOSX", ".ipynb_checkpoints"):
        (folder / place).mkdir()
        colour.save(folder / place / "copy.png")
    return {
        "whole.png": "",
        "truncated.png": "is damaged or truncated",
        "truncated.jpg": "is damaged or truncated",
        "empty.png": "is empty",
        "cmyk.jpg": "converted from CMYK",
        "16bit.png": "has pixels of mode I;16",
        "palette.png": "had a palette",
        "opaque.png": "",
        "transparent.png": "has transparent pixels",
        "animated.gif": "has 2 frames",
        "rotated.jpg": "turned upright",
        "bomb.png": "has far more pixels",
        "small-bomb.png": "has 8000 × 8000 pixels, more than",
        "vector.png": "is not an image",
        "page.jpg": "is not an image",
        SCRIPT: "",
        ONERROR: "",
        r"latin-\xe9.png": "",
        r"line\nbreak\u202e.png": "",
        "pipe.png": "is not a plain file",
        "dangling.png": "leads nowhere",
        "linked.png": "",
        "loop": "is a folder that is not entered",
        ".DS_Store": "is what a system or an archiver left",
        "__MACOSX/copy.png": "is what a system or an archiver left",
        ".ipynb_checkpoints/copy.png": "is what a system or an archiver left",
    }
