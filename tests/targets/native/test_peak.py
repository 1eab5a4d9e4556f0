"""What a core can do is measured by loops that compute what they say."""

from __future__ import annotations

import pytest
from support import needs

from edgeseg.targets.native.isa import INSTRUCTION_SETS, best_here
from edgeseg.targets.native.peak import measure_core, peak_text

pytestmark = needs("ziglang")


def test_a_core_does_more_than_a_product_a_nanosecond() -> None:
    isa = best_here()
    if isa is None:
        pytest.skip("no instruction set of this machine is known")
    core = measure_core(isa)
    assert core.isa == isa.name
    assert 1e8 < core.products < 1e13
    assert 1e8 < core.bytes < 1e13


def test_products_of_bytes_are_measured_where_the_core_has_them() -> None:
    isa = best_here("int8")
    if isa is None or not isa.machine.bytes:
        pytest.skip("this machine has no products of bytes that are known")
    core = measure_core(isa)
    assert core.byte_products is not None
    assert 1e8 < core.byte_products < 1e14
    assert measure_core(INSTRUCTION_SETS["x86-64-v2"]).byte_products is None


def test_the_loop_has_as_many_chains_as_hide_the_latency() -> None:
    isa = best_here()
    if isa is None:
        pytest.skip("no instruction set of this machine is known")
    text = peak_text(isa)
    assert text.count(" * x + y;") in (12, 24)
    assert "@" not in text
