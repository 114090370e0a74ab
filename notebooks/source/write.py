"""Write the notebooks from their sources: a file each, which for run notebooks fills in `run.md`.

    python notebooks/source/write.py

A notebook whose code is what it was keeps its outputs; one whose code changed loses them all, and
`make notebooks` runs it again.
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SOURCE = Path(__file__).parent
TEMPLATE = "run.md"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
#: A code cell: "```python", its tags, its lines, "```".
CODE = re.compile(r"^```python *(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


def names() -> list[str]:
    """Return the names of the notebooks that are written from here."""
    return sorted(path.stem for path in SOURCE.glob("*.md") if path.name != TEMPLATE)


def written(name: str) -> NotebookNode:
    """Return the notebook `name` as its source has it, without outputs."""
    pages = Environment(loader=FileSystemLoader(SOURCE), undefined=StrictUndefined)
    # text, tags, code, text, tags, code, ..., text
    parts = [part.strip() for part in CODE.split(pages.get_template(f"{name}.md").render())]
    cells = []
    for text, tags, code in zip(parts[::3], [*parts[1::3], ""], [*parts[2::3], ""], strict=True):
        cells += [new_markdown_cell(one.strip()) for one in re.split(r"\n(?=## )", text) if one]
        if code:
            cells.append(new_code_cell(code, metadata={"tags": tags.split()} if tags else {}))
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number:02}"  # the same at every writing
    return new_notebook(cells=cells, metadata={"kernelspec": KERNEL})


def code_of(notebook: NotebookNode) -> list[str]:
    """Return the sources of the code cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def keep_outputs(new: NotebookNode, old: NotebookNode) -> None:
    """Give the cells of `new` the outputs that those of `old`, with the same code, have."""
    cells = [[one for one in book.cells if one.cell_type == "code"] for book in (new, old)]
    for to, of in zip(*cells, strict=True):
        to.outputs, to.execution_count = of.outputs, of.execution_count


def main() -> None:
    """Write every notebook that is not what its source says."""
    for name in names():
        path = SOURCE.parent / f"{name}.ipynb"
        new = written(name)
        old = nbformat.read(path, as_version=4) if path.exists() else new_notebook()
        same = code_of(new) == code_of(old)
        if same:
            keep_outputs(new, old)
        if new == old:
            continue  # its date stays, and with it the runs that were made from it
        nbformat.write(new, path)
        print(f"{path.name}: written{'' if same else '; its code changed, so run it'}")


if __name__ == "__main__":
    main()
