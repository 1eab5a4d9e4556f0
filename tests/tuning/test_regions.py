from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgeseg.tuning.regions import QuantizableConv, group_convs, single_convs

SIZES = st.lists(st.sampled_from([(64, 64), (32, 32), (16, 16), None]), max_size=40)


def sites_of(sizes: list[tuple[int, int] | None]) -> list[QuantizableConv]:
    return [QuantizableConv(f"conv{index}", size) for index, size in enumerate(sizes)]


def test_a_region_ends_where_the_resolution_changes() -> None:
    regions = group_convs(sites_of([(64, 64), (64, 64), (32, 32), (64, 64)]))
    assert [region.convolutions for region in regions] == [
        ("conv0", "conv1"),
        ("conv2",),
        ("conv3",),
    ]
    assert regions[0].name == "region 1 (2 convolutions at 64x64)"


def test_the_smallest_neighbours_are_merged() -> None:
    sizes = [(64, 64)] * 3 + [(32, 32)] + [(16, 16)] + [(8, 8)] * 3
    regions = group_convs(sites_of(sizes), most=3)
    assert [len(region.convolutions) for region in regions] == [3, 2, 3]
    assert regions[1].name == "region 2 (2 convolutions at 32x32 to 16x16)"


@given(SIZES, st.integers(1, 8))
def test_every_convolution_is_in_one_region_in_order(
    sizes: list[tuple[int, int] | None], most: int
) -> None:
    convs = sites_of(sizes)
    regions = group_convs(convs, most)
    assert len(regions) <= most
    assert [name for region in regions for name in region.convolutions] == [s.name for s in convs]


def test_single_convolutions_come_by_what_they_cost() -> None:
    convs = [
        QuantizableConv("a", None, 1),
        QuantizableConv("b", (2, 2), 9),
        QuantizableConv("c", None, 4),
    ]
    assert [region.convolutions for region in single_convs(convs)] == [("b",), ("c",), ("a",)]
