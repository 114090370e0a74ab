"""The notebook of results: its one parameter, and that it shows every table and figure."""

import nbformat
import pytest

from amint_core import report
from amint_core.errors import SettingsError
from amint_core.locations import project_root
from amint_core.report.figures import FIGURES
from amint_core.report.tables import TABLES


def test_notebook_has_one_parameter():
    assert report.profile_of({"profile": "quick", "_i": "x", "In": [], "files": {}}) == "quick"
    with pytest.raises(SettingsError, match=r"'profil'. Did you mean 'profile'\?"):
        report.profile_of({"profile": "quick", "profil": "paper"})
    with pytest.raises(SettingsError, match="profil"):
        report.profile_of({"profile": "quick", "profil": None})


def test_notebook_shows_every_table_and_figure():
    path = project_root() / "notebooks" / "aMINTResults.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    tables = (f"{name}.md" for name, table in TABLES.items() if table.document)
    for name in (*tables, *(f"{figure}.png" for figure in FIGURES)):
        assert f'"{name}"' in code
