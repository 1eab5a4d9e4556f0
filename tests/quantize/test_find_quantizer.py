from __future__ import annotations

import pytest

from edgeseg.errors import UnknownNameError, UsageError
from edgeseg.lazy import BACKENDS
from edgeseg.quantize import QUANTIZERS, Quantizer, find_quantizer


@pytest.mark.parametrize("name", QUANTIZERS.names())
def test_quantizer_is_found_by_name_and_by_format(name: str) -> None:
    made = QUANTIZERS.find(name)()
    assert isinstance(made, Quantizer)
    assert made.name == name
    assert set(made.packages) <= set(BACKENDS)
    assert find_quantizer(name, [made.artifact_format]).name == name
    assert find_quantizer(None, [made.artifact_format]).artifact_format == made.artifact_format


def test_unknown_method_names_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"method 'ncf'\. Did you mean nncf\?"):
        find_quantizer("ncf", ["openvino-ir"])


def test_method_for_another_format_says_what_to_leave_out() -> None:
    with pytest.raises(UsageError, match=r"nncf takes openvino-ir, not wav or mp3\. Leave"):
        find_quantizer("nncf", ["wav", "mp3"])


def test_format_that_nobody_takes_says_what_to_build() -> None:
    with pytest.raises(UsageError, match=r"No quantisation method takes wav\. Build with fp32"):
        find_quantizer(None, ["wav"])
