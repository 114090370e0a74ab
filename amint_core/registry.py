"""Names for what the files of a package declare, each file loaded when its name is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from importlib import import_module
from typing import Generic, TypeVar

Record = TypeVar("Record")


class Registry(MutableMapping[str, Record], Generic[Record]):
    """Name → record, in the order declared.

    Args:
        package: the package whose files declare the records.
        declared: name → "file:VARIABLE" in that package, e.g. "cifar:CIFAR10".
    """

    def __init__(self, package: str, declared: dict[str, str]) -> None:
        places = {name: place.split(":") for name, place in declared.items()}
        self._places = {name: (f"{package}.{file}", at) for name, (file, at) in places.items()}
        self._added: dict[str, Record] = {}

    def _declared(self, name: str) -> Record:
        module, variable = self._places[name]
        return getattr(import_module(module), variable)

    def __getitem__(self, name: str) -> Record:
        return self._added[name] if name in self._added else self._declared(name)

    def __setitem__(self, name: str, record: Record) -> None:
        if name in self._places and self._declared(name) is record:
            self._added.pop(name, None)  # what stood in its place is taken away again
        else:
            self._added[name] = record

    def __delitem__(self, name: str) -> None:
        if name in self._added:
            del self._added[name]
        else:
            del self._places[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._places, **self._added})

    def __len__(self) -> int:
        return len({**self._places, **self._added})

    def __contains__(self, name: object) -> bool:
        return name in self._places or name in self._added

    def roots(self, name: str) -> tuple[str | Callable, ...]:
        """Return where the code of a record begins, for `provenance.code_fingerprint`.

        That is the module that declares it; of a record that was added, the functions it holds.
        """
        if name not in self._added:
            return (self._places[name][0],)
        return tuple(value for value in vars(self._added[name]).values() if callable(value))
