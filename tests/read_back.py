"""A profile's results, and what readers of its tables and figures find written there."""

from matplotlib import pyplot as plt

from amint_core.report import render
from amint_core.report.read import read
from amint_core.report.tables import comparison


def profile():
    """Read the made-up runs of profile quick."""
    return read("quick")


def table(of=comparison):
    return of.rows(profile())


def text_of(module):
    return render.to_markdown(module.document(profile()))


def texts(figure):
    """Return all that a reader can read in a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text) if text.get_text())
