"""edgeseg verify, edgeseg predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeseg.errors import DataError, OutputInUseError, UsageError

from .console import make_progress, print_json


def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Check a bundle's checksums and replay its golden pair."""
    from edgeseg.pipeline.verify import verify_bundle

    with make_progress().stage("verify"):
        opened, agreement = verify_bundle(bundle)
    if as_json:
        print_json({"bundle": opened.name, "ok": True, "golden": agreement.to_json()})
        return
    print(f"{bundle}: ok. {len(opened.manifest.files)} files unchanged; golden mask: {agreement}")


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks.")],
    gallery: Annotated[
        Path | None, typer.Option(help="Also write one PNG with images and masks.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace masks that exist.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Write the mask of each image, as a PNG of the image's size.

    Two classes: 0 and 255. More: the class index.
    """
    from edgeseg.bundle import open_bundle
    from edgeseg.gallery import GalleryRow, draw_gallery, find_truth, write_mask
    from edgeseg.pipeline.verify import predict_images

    opened = open_bundle(bundle)
    opened.check_files()
    paths = _list_images(images)
    results = _plan_outputs(paths, output, overwrite=overwrite)
    class_count = len(opened.outputs.classes)
    rows = []
    with make_progress().stage("predict", total=len(paths)) as stage:
        for prediction in predict_images(opened, paths, threads=threads):
            write_mask(results[prediction.path], prediction.labels, class_count)
            if gallery is not None:
                truth = find_truth(prediction.path, class_count)
                rows.append(
                    GalleryRow(prediction.path.stem, prediction.image, prediction.labels, truth)
                )
            stage.advance()
    if gallery is not None:
        draw_gallery(rows, gallery)
    print(f"{len(paths)} masks in {output}" + (f", gallery {gallery}" if gallery else ""))


def _list_images(places: list[Path]) -> list[Path]:
    from edgeseg.data.images import IMAGE_SUFFIXES

    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            found = sorted(p for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not found:
                raise DataError(f"The folder {place} holds no image. Name image files.")
            paths.extend(found)
        elif place.is_file():
            paths.append(place)
        else:
            raise UsageError(f"No image at {place}. Check the path.")
    return paths


def _plan_outputs(paths: list[Path], folder: Path, *, overwrite: bool) -> dict[Path, Path]:
    if folder.exists() and not folder.is_dir():
        raise OutputInUseError(f"{folder} is not a folder. Choose another --output.")
    results: dict[Path, Path] = {}
    for path in paths:
        result = folder / f"{path.stem}.png"
        if result in results.values():
            raise UsageError(
                f"Two images would write {result}. Predict them into different --output folders."
            )
        if result.exists() and not overwrite:
            raise OutputInUseError(
                f"{result} exists. Replace it with --overwrite, or choose another --output."
            )
        if result.resolve() == path.resolve():
            raise OutputInUseError(
                f"The mask would replace the image {path}. Choose another --output."
            )
        results[path] = result
    return results
