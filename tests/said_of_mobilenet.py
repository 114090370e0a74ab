"""What the pages say of results/mobilenet: the runs of results/convnet on the paper's model."""

from collections.abc import Iterator

import said_of_convnet
import said_of_profiles


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table; runs that are not there have none."""
    return said_of_profiles.of_all_rows("mobilenet", said_of_convnet.ROWS)


SOURCES = (of_all_rows,)
