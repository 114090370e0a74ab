"""A profile's comparison, and what readers of its tables and figures find written there."""

from matplotlib import pyplot as plt

from amint_core.report import by_method, compact
from amint_core.report.collect import read_runs


def table():
    return by_method.comparison(read_runs("quick"))


def text_of(module, *given):
    return compact.to_markdown(module.document(*given, "quick"))


def texts(figure):
    """Return all that a reader can read in a figure."""
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(plt.Text) if text.get_text())
