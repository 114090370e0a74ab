"""What fuzz tests share: odd values, damaged bytes, and a guard around what reads them.

`make test` tries as many inputs per test as `SUITE` says, the same ones each time; `make fuzz`
tries `NIGHTLY`, others each time.
"""

from __future__ import annotations

import copy
import json
import random
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from amint_core.errors import AmintError
from amint_core.store import hashes, sha256, write_sealed

SUITE, NIGHTLY = 20, 320
ROOM = 2**30  # bytes of address space that one input may take on top
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"}
_STARTS |= {"os.fork", "os.forkpty"}
_watching = False


def load_profile() -> None:
    """Make `make test` try few inputs, and name the profile that tries many."""
    common = {
        "deadline": None,
        "database": None,
        "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    }
    settings.register_profile("suite", max_examples=SUITE, derandomize=True, **common)
    settings.register_profile("nightly", max_examples=NIGHTLY, **common)
    settings.load_profile("suite")


def _no_process(event: str, given: tuple) -> None:
    if _watching and event in _STARTS:
        raise AssertionError(f"{event} {given}: a file from outside has started a process")


sys.addaudithook(_no_process)


@contextmanager
def guarded() -> Iterator[list[AmintError]]:
    """Let errors of ours pass, which are listed; no others, no process, and little memory."""
    global _watching
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, refused = resource.getrlimit(resource.RLIMIT_AS), []
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    _watching = True
    try:
        yield refused
    except AmintError as error:
        str(error).encode()  # it can be printed
        refused.append(error)
    finally:
        _watching = False
        resource.setrlimit(resource.RLIMIT_AS, before)


def chances() -> st.SearchStrategy[random.Random]:
    """Draw random numbers by their seed, which a failing test prints."""
    return st.integers(0, 2**32 - 1).map(random.Random)


#: What no reader expects: types, sizes, markup of every language that a value may end in.
ODD = [
    *(None, True, False, 0, -1, 2**70, 1.5, 1e308, -1e-320, float("nan"), float("inf")),
    *("", " ", "None", "$x^{", "$\\frac$", "<b>&amp;", "`|x|`", "\\input{x}", "{run}", "%n%s"),
    *("\ud800", "\0", "../../etc", "a" * 5000, "٣", "\u202ex", "1e999", "[", "nan", "2026_01"),
    *([], {}, [[]], [None], {"": 0}, [1, "a"], [[[[[[]]]]]], {"value": {}}),
]


def spoiled_json(content: Any, chance: random.Random) -> Any:
    """Return JSON with one to three places replaced, removed, added, or moved."""
    content = json.loads(json.dumps(content))
    for _ in range(chance.randint(1, 3)):
        places = list(_places(content))
        if not places:
            return _odd(chance)
        inside, key = chance.choice(places)
        match chance.randrange(6):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside[chance.choice(["x", "", "value", "\ud800", "$"])] = _odd(chance)
            case 2:
                other, at = chance.choice(places)
                inside[key] = json.loads(json.dumps(other[at]))
            case _:
                inside[key] = _odd(chance)
    return content


def _odd(chance: random.Random) -> Any:
    """Return an odd value of its own, which a later change may change."""
    return copy.deepcopy(chance.choice(ODD))


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    inner = ()
    if isinstance(content, dict):
        inner = [(content, key) for key in content]
    elif isinstance(content, list):
        inner = [(content, key) for key in range(len(content))]
    for inside, key in inner:
        yield inside, key
        yield from _places(inside[key])


def spoiled(raw: bytes, chance: random.Random) -> bytes:
    """Damage a file as disks, networks and editors do; half of the time near its ends."""
    content, size = bytearray(raw), len(raw)
    near = chance.random() < 0.5
    place = chance.choice(
        [chance.randrange(min(64, size)), max(0, size - 1 - chance.randrange(64))]
    )
    place = place if near else chance.randrange(size)
    match chance.randrange(7):
        case 0:
            return raw[:place]
        case 1:
            content[place] ^= 1 << chance.randrange(8)
        case 2:
            content[place : place + chance.randrange(1, 64)] = chance.randbytes(
                chance.randrange(64)
            )
        case 3:
            content[place : place + 512] = bytes(len(content[place : place + 512]))
        case 4:
            digits = [at for at in range(size) if chr(content[at]).isdigit()]
            at = chance.choice(digits or [place])
            content[at : at + 1] = chance.choice([b"", b"999999999999", b"-1", b"\xc2\xb2", b"x"])
        case 5:
            content[place:place] = chance.choice([b'"', b"\0", b"\n", b"\xff\xfe", b",;\t", b"{"])
        case 6:
            return chance.choice([b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\n" * 9, raw + raw])
    return bytes(content)


@contextmanager
def changed(path: Path, content: bytes, answered: bool = True) -> Iterator[None]:
    """Put other content into a file for a while, with its hash where the old one is.

    Args:
        answered: whether hashes beside it and in its folder's descriptions are made to fit, as
            who hands out files can do.
    """
    others = [path.with_name(f"{path.name}.sha256"), *path.parent.glob("*.json")]
    before = {file: file.read_bytes() for file in (path, *others) if file.is_file()}
    path.write_bytes(content)
    if answered:
        _answer_for(path, others)
    try:
        yield
    finally:
        for file, old in before.items():
            file.write_bytes(old)


def _answer_for(path: Path, others: list[Path]) -> None:
    for file in others:
        if file.suffix == ".sha256" and file.is_file():
            file.write_text(f"{sha256(path)}  {path.name}\n")
        elif file != path and file.is_file() and b'"files"' in file.read_bytes():
            described = json.loads(file.read_bytes())
            if path.name in described.get("files", {}):
                described.pop("sha256", None)
                described["files"] |= hashes([path])
                write_sealed(file, described)


def sealed(content: Any) -> bytes:
    """Return what `store.write_sealed` would write, whatever the content."""
    from amint_core.store import _seal

    if isinstance(content, dict):
        content.pop("sha256", None)
        content = {**content, "sha256": _seal(content)}
    return json.dumps(content).encode()


def tried_on(read: Callable[[], Any]) -> tuple[Any, list[AmintError]]:
    """Call a reader under guard; return what it returns (None: refused) and the refusal."""
    found = None
    with guarded() as refused:
        found = read()
    return found, refused
