"""Software of others: what is known of it, and a table that is nothing but text."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

from edgeseg.dossier.packages import (
    BUILD_HOST,
    DEVICE,
    MAKERS,
    NOT_FIXED,
    NOT_KNOWN,
    list_soup,
    soup_text,
)
from edgeseg.lazy import BACKENDS

BUILT = {"torch": "2.13.0+cpu", "numpy": "2.4.6", "onnx_ir": "1.1.0"}


def test_versions_and_places() -> None:
    soup = list_soup(["numpy", "openvino"], ["torch", "torch", "nncf"], BUILT, {"numpy": "2.0.1"})
    assert [(one.module, one.version, one.place) for one in soup] == [
        ("numpy", "2.0.1", DEVICE),  # as it was measured, not as it was built
        ("openvino", NOT_FIXED, DEVICE),
        ("torch", "2.13.0+cpu", BUILD_HOST),  # nncf had no hand in it
    ]
    assert soup[2].purl == "pkg:pypi/torch@2.13.0"
    assert soup[1].purl == "pkg:pypi/openvino"
    assert soup[1].anomalies.endswith("/openvino/issues")


def test_names_of_distributions() -> None:
    (one,) = list_soup([], ["onnx_ir"], BUILT, {})
    assert (one.package, one.purl) == ("onnx-ir", "pkg:pypi/onnx-ir@1.1.0")


def test_an_unknown_package_tells_of_itself() -> None:
    known, unknown = list_soup(["typer", "not_there"], [], {}, {})
    assert "MIT" in known.licence
    assert (unknown.manufacturer, unknown.licence, unknown.anomalies) == (NOT_KNOWN,) * 3


def test_runtimes_are_known() -> None:
    left_out = {"lightning_fabric"}  # trains, and has no hand in a bundle
    assert {*BACKENDS} - left_out <= {*MAKERS}


def test_no_cell_is_a_formula() -> None:
    (one,) = list_soup(["numpy"], [], {}, {})
    text = soup_text([replace(one, manufacturer='=HYPERLINK("x")', title="a, b\nc")])
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["manufacturer"] == '\'=HYPERLINK("x")'
    assert row["title"] == "a, b\nc"
