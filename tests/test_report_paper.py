"""The paper's values, against sums that were taken from the printed table by other means."""

import pytest

from amint_core.data import DATASETS
from amint_core.model.zoo import AUDITED, SETUPS
from amint_core.report import paper

#: (dataset, setup) → sums over the six models of MINT and of audited accuracy, in hundredths.
ROW_SUMS = {
    ("mnist", "entry"): (499, 581),
    ("mnist", "middle"): (499, 577),
    ("mnist", "output"): (480, 534),
    ("cifar10", "entry"): (517, 315),
    ("cifar10", "middle"): (527, 306),
    ("cifar10", "output"): (512, 253),
    ("gtsrb", "entry"): (513, 573),
    ("gtsrb", "middle"): (508, 568),
    ("gtsrb", "output"): (495, 554),
    ("tiny_imagenet", "entry"): (495, 113),
    ("tiny_imagenet", "middle"): (510, 109),
    ("tiny_imagenet", "output"): (482, 93),
}


@pytest.mark.parametrize("place", ROW_SUMS, ids="-".join)
def test_rows_sum_to_the_printed_ones(place):
    row = [cell for key, cell in paper.TABLE1.items() if key[:2] == place]
    assert len(row) == 6
    sums = sum(cell.mint for cell in row), sum(cell.audited for cell in row)
    assert tuple(round(100 * value) for value in sums) == ROW_SUMS[place]


@pytest.mark.parametrize(
    ("place", "mint", "audited"),
    [
        (("mnist", "entry", "mobilenet"), 0.86, 0.96),
        (("mnist", "output", "resnet101"), 0.77, 0.80),
        (("cifar10", "middle", "mobilenet"), 0.91, 0.41),
        (("cifar10", "output", "vit"), 0.88, 0.19),
        (("gtsrb", "entry", "resnet50"), 0.86, 0.98),
        (("gtsrb", "middle", "xception"), 0.88, 0.98),
        (("tiny_imagenet", "middle", "densenet121"), 0.88, 0.34),
        (("tiny_imagenet", "output", "resnet50"), 0.79, 0.07),
    ],
)
def test_single_cells(place, mint, audited):
    assert paper.TABLE1[place] == paper.Cell(mint, audited)


def test_the_grid_is_whole():
    assert len(paper.TABLE1) == 4 * 3 * 6
    assert len(paper.GMINT) == 4 * 4 * 6


#: (dataset, setup) → sum over the 18 printed per cents, in hundredths, as the table's picture gives
#: them when each of its characters is read by its shape.
GMINT_SUMS = {
    ("mnist", "entry"): 165_162,
    ("mnist", "middle"): 174_958,
    ("mnist", "output"): 174_985,
    ("mnist", "combined"): 179_996,
    ("cifar10", "entry"): 179_975,
    ("cifar10", "middle"): 179_980,
    ("cifar10", "output"): 179_997,
    ("cifar10", "combined"): 179_996,
    ("gtsrb", "entry"): 175_669,
    ("gtsrb", "middle"): 177_733,
    ("gtsrb", "output"): 179_264,
    ("gtsrb", "combined"): 179_429,
    ("tiny_imagenet", "entry"): 157_941,
    ("tiny_imagenet", "middle"): 169_217,
    ("tiny_imagenet", "output"): 171_993,
    ("tiny_imagenet", "combined"): 171_938,
}


@pytest.mark.parametrize("place", GMINT_SUMS, ids="-".join)
def test_rows_of_gmint_sum_to_the_printed_ones(place):
    row = [value for key, cell in paper.GMINT.items() if key[:2] == place for value in cell]
    assert len(row) == 18
    assert sum(round(10_000 * value) for value in row) == GMINT_SUMS[place]


def test_names_are_those_of_the_settings():
    assert set(paper.DATASETS) <= set(DATASETS)
    assert set(paper.MODELS) <= set(AUDITED)
    assert paper.SETUPS == SETUPS
    titles = {name: DATASETS[name].title for name in paper.DATASETS}
    assert titles == paper.DATASETS


def test_only_active_mint_has_a_cell():
    printed = paper.TABLE1["cifar10", "middle", "mobilenet"]
    assert paper.method_values("cifar10", "middle", "mobilenet", "active")[0] == printed.mint
    assert paper.method_values("cifar10", "middle", "mobilenet", "passive")[0] != printed.mint
    assert ("casia_webface", "entry", "mobilenet") not in paper.TABLE1


def test_comparison_agrees_with_entry_where_both_are_known():
    both = {
        place: (row, paper.TABLE1[place[0], "entry", place[1]])
        for place, row in paper.PASSIVE_ACTIVE.items()
        if place[0] != "casia_webface"
    }
    assert len(both) == 5
    for row, cell in both.values():
        assert (row.active, row.audited_with) == (cell.mint, cell.audited)


def test_comparison_and_attacks():
    passive = sum(row.passive for row in paper.PASSIVE_ACTIVE.values())
    alone = sum(row.audited_alone for row in paper.PASSIVE_ACTIVE.values())
    assert round(100 * passive) == 361
    assert round(100 * alone) == 376
    assert paper.PASSIVE_ACTIVE["casia_webface", "mobilenet"].audited_with == 0.15
    sums = [
        round(100 * sum(row[name] for row in paper.ATTACKS.values()))
        for name in ("cifar10", "gtsrb")
    ]
    assert sums == [340, 372]


@pytest.mark.parametrize(
    ("place", "method", "target", "values"),
    [
        (("cifar10", "middle", "mobilenet"), "active", None, (0.91, 0.41)),
        (("casia_webface", "entry", "mobilenet"), "active", None, (0.86, 0.15)),
        (("cifar10", "middle", "resnet50"), "passive", None, (0.66, 0.55)),
        (("gtsrb", "middle", "mobilenet"), "passive", None, (0.61, None)),
        (("cifar10", "middle", "resnet50"), "plain", None, (None, 0.55)),
        (("gtsrb", "middle", "vit"), "watson", "plain", (0.79, None)),
        (("gtsrb", "middle", "vit"), "watson", "active", (None, None)),
        (("cifar10", "middle", "vit"), "yeom", "undeclared", (None, None)),
        (("cifar10", "middle", "vit"), "yeom", "misdeclared", (None, None)),
        (("mnist", "middle", "vit"), "yeom", "plain", (None, None)),
        (("cifar10", "middle", "vit"), "lira_online", "plain", (None, None)),
    ],
)
def test_values_of_methods(place, method, target, values):
    assert paper.method_values(*place, method, target) == values


def test_order_is_the_papers_then_by_name():
    assert sorted(["zoo", "cifar100", "gtsrb", "mnist"], key=paper.dataset_order) == [
        *("mnist", "gtsrb", "cifar100", "zoo")
    ]
    assert sorted(["tiny", "vit", "resnet50"], key=paper.model_order)[-1] == "tiny"
