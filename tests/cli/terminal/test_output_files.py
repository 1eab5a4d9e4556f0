from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeseg.cli.terminal.output_files import require_file_places, require_folder_place
from edgeseg.errors import UsageError


def test_places_that_will_do(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("")
    places = {"--trace": tmp_path / "new" / "a.json", "--json-file": tmp_path / "old.json"}
    require_file_places({**places, "--other": None})
    require_file_places({"--trace": Path("/dev/null"), "--json-file": Path("/dev/null")})
    require_folder_place("--model-explorer", tmp_path)
    require_folder_place("--model-explorer", tmp_path / "new" / "folder")
    require_folder_place("--model-explorer", None)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--trace .* is a folder. Name a file in it"):
        require_file_places({"--trace": tmp_path})


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match=r"--model-explorer .* is a file. Name a folder"):
        require_folder_place("--model-explorer", file)
    for place in (file / "a.json", file / "b" / "a.json"):
        with pytest.raises(UsageError, match=r"is a file, and no folder. Name another place"):
            require_file_places({"--trace": place})
        with pytest.raises(UsageError, match=r"is a file, and no folder. Name another place"):
            require_folder_place("--model-explorer", place)


def test_two_options_do_not_share_a_file(tmp_path: Path) -> None:
    places = {"--trace": tmp_path / "a.json", "--json-file": tmp_path / "." / "a.json"}
    with pytest.raises(UsageError, match=r"--trace and --json-file name the same file.*two files"):
        require_file_places(places)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_what_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match=r"cannot be written. Name another place"):
        require_file_places({"--trace": tmp_path / "a.json"})
