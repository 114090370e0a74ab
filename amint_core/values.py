"""Values as people write them, on the command line, in grids and for papermill: YAML 1.2.

PyYAML reads YAML 1.1, to which `1:30` is 90, `010` is 8, `1e-3` is text and `no` is false. Here
numbers are decimal, and nothing but true and false is a truth value (YAML 1.2, core schema).
Python's `None` means nothing, as `null` does.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

_INT = r"[-+]?[0-9]+"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.nan"
#: Tag → (pattern, first characters that it can have), in the order of trying.
_SCHEMA = {
    "null": (r"~|null|Null|NULL|None|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (_INT, list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema; a key stands once."""

    yaml_implicit_resolvers: ClassVar[dict[str, list]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise ConstructorError(problem=f"{key.value!r} stands twice")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, (_pattern, _first) in _SCHEMA.items():
    _whole = re.compile(rf"(?:{_pattern})\Z")
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, _first)
for _tag, _kind in (("int", int), ("float", float)):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_tag}",
        lambda loader, node, kind=_kind: kind(re.sub(r"\.(?=[iInN])", "", node.value)),
    )


def read_yaml(text: str) -> Any:
    """Read one YAML document.

    Raises:
        ValueError: it is none, or nothing that a setting could be; the message says why, in a line.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError("too many brackets within each other") from None
    except (ValueError, TypeError) as error:  # of thousands of digits, or under an explicit tag
        raise ValueError(str(error).partition(";")[0]) from None
