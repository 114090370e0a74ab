"""What the pages say of results/mobilenet: the runs of results/convnet on the paper's model."""

from collections.abc import Iterator

import said_of_convnet
import said_of_profiles
from said_of_table1 import three

from amint_core.files import read_json
from amint_core.locations import project_root

PROCESSORS = {"Intel(R) Xeon(R) Processor": "an Intel Xeon", "AMD EPYC": "an AMD EPYC"}


def of_all_rows() -> Iterator[str]:
    """Yield the rows of the page's table; runs that are not there have none."""
    return said_of_profiles.of_all_rows("mobilenet", said_of_convnet.ROWS)


def of_processors() -> Iterator[str]:
    """Yield on what, and in which precision, the runs were computed."""
    manifests = map(read_json, (project_root() / "results/mobilenet").glob("runs/*/manifest.json"))
    found = {
        f"on {PROCESSORS[one['hardware'].split(',')[0]]} in {one['computed_in']}"
        for one in manifests
    }
    yield " or ".join(sorted(found, reverse=True))


def of_the_price() -> Iterator[str]:
    """Yield how the classifier fares with the MINT loss and without."""
    places = [("best", name, "plain") for name in ("active", "joint")]
    joint, without = said_of_profiles.side_by_side("mobilenet", places, "audited")
    assert float(joint) > float(without)
    yield "have it above the joint pass without the MINT loss at weight 1"


def of_passive_mint() -> Iterator[str]:
    """Yield how a head trained afterwards fares beside one that learnt jointly."""
    places = [("best", name, "plain") for name in ("passive", "active")]
    runs = said_of_profiles.runs("mobilenet").query("recipe == 'best' and target == 'plain'")
    assert all(len(runs[runs["method"] == name]) == 3 for _, name, _ in places)
    values = said_of_profiles.side_by_side("mobilenet", places, "tpr at 0.001")
    yield f"on MobileNet better (TPR {' against '.join(values)} at .1 % FPR, three seeds)"


def of_seeds() -> Iterator[str]:
    """Yield between what the plain model's accuracy lies over the seeds."""
    runs = said_of_profiles.runs("mobilenet").query("recipe == 'best' and method == 'plain'")
    low, high = (three(runs["audited"].agg(end)) for end in ("min", "max"))
    yield f"{low} to {high})"


SOURCES = (of_all_rows, of_processors, of_the_price, of_passive_mint, of_seeds)
