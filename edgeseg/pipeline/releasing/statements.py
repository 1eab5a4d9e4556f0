"""What is stated of the weights that a release carries."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ...bundle.bundle import Bundle
from ...dossier.contents import read_card, require_one_licence
from ...errors import EdgesegError, UsageError, reason_of
from ...models import find_model
from ...models.find import is_registered
from ...records import sha256_of_file
from ...storage.reading import read_text_file


def read_statements(path: Path | None, bundle: Bundle) -> dict[str, str]:
    """Statements on the weights: of a file, or of the card that lies beside shipped weights.

    Raises:
        UsageError: The file cannot be read, or states nothing.
    """
    model = bundle.manifest.model
    if path is None:
        with contextlib.suppress(EdgesegError, OSError, ValueError):
            shipped = find_model(model.name).weights if is_registered(model.spec) else None
            if shipped and sha256_of_file(shipped.path) == model.weights_sha256:
                return read_card(read_text_file(shipped.path.with_suffix(".md")))
        return {}
    try:
        statements = read_card(read_text_file(path))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--card {path} cannot be read ({reason_of(error)}). Name a file of Markdown that "
            "states each thing once."
        ) from error
    if not statements:
        raise UsageError(
            f"--card {path} states nothing. Write lines such as '- **Task:** ...', '- **Data:** "
            "...', '- **Licence:** ...' and '- **Limits:** ...'."
        )
    require_one_licence(path, statements, bundle)
    return statements
