"""The Android module: what is written, that it compiles, and that it computes Python's masks."""

from __future__ import annotations

from pathlib import Path

import pytest
from kotlin_compiler import Kotlin, compile_java, fetch_kotlin
from sharing import make_once
from support import ROOT
from vectors import CONTRACTS, check_answers, contract_record, write_requests

from edgeseg.embed.android import kotlin_contract
from edgeseg.embed.surface import SOURCES, fill

HERE = ROOT / "tests" / "embed"
KOTLIN = SOURCES / "android" / "kotlin"


@pytest.fixture(scope="session")
def kotlin(shared_folder: Path) -> Kotlin:
    return Kotlin(make_once(shared_folder, "kotlin", fetch_kotlin))


@pytest.fixture(scope="session")
def stubs(kotlin: Kotlin, shared_folder: Path) -> Path:
    """Classes that stand for Android's, with which kits are compiled and run."""
    return make_once(
        shared_folder, "stubs", lambda path: compile_java(HERE / "stubs" / "java", path)
    )


@pytest.fixture(scope="session")
def vector_program(kotlin: Kotlin, shared_folder: Path) -> Path:
    """Classes of a program that answers requests with a kit's `Contract`."""

    def make(classes: Path) -> None:
        sources = classes.with_name("vector-sources")
        sources.mkdir()
        text = (KOTLIN / "litert" / "Contract.kt").read_text()
        (sources / "Contract.kt").write_text(fill(text, {"PACKAGE": "kit"}))
        (sources / "Contracts.kt").write_text(contracts_file())
        kotlin.compile([sources, HERE / "kotlin" / "Vectors.kt"], classes)

    return make_once(shared_folder, "vector-program", make)


def contracts_file() -> str:
    entries = "".join(
        f'    "{name}" to {kotlin_contract(contract_record(name))},\n' for name in CONTRACTS
    )
    imports = "import kit.NetworkContract\nimport kit.Normalization\n\n"
    return f"package contracts\n\n{imports}val CONTRACTS = mapOf(\n{entries})\n"


@pytest.mark.slow
@pytest.mark.parametrize("contract", CONTRACTS)
def test_vectors(contract: str, kotlin: Kotlin, vector_program: Path, tmp_path: Path) -> None:
    asked = write_requests(tmp_path, contract)
    done = kotlin.run("VectorsKt", contract, str(tmp_path), path=[vector_program])
    assert done.returncode == 0, done.stderr
    check_answers(tmp_path, asked)
