"""edgeseg predict"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import DataError, OutputInUseError, UsageError
from .terminal.console import make_progress, print_result


def predict(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder.")],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks.")],
    gallery: Annotated[
        Path | None, typer.Option(help="Also write one PNG with images and masks.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace masks that exist.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 1,
) -> None:
    """Write the mask of each image, as a PNG of the image's size.

    Two classes: 0 and 255. More: the class index.
    """
    from ..bundle.bundle import open_bundle
    from ..data.gallery import GalleryRow, draw_gallery, find_truth, shrink_row, write_mask
    from ..pipeline.predict import predict_images
    from ..storage.atomic import adding_files

    opened = open_bundle(bundle)
    opened.check_files()
    paths = _list_images(images)
    names = _plan_outputs(paths, output, gallery, overwrite=overwrite)
    class_count = len(opened.outputs.classes)
    rows = []
    progress = make_progress()
    with adding_files(output) as folder, progress.stage("predict", total=len(paths)) as stage:
        for prediction in predict_images(opened, paths, threads=threads):
            write_mask(folder / names[prediction.path], prediction.labels, class_count)
            if gallery is not None:
                path = prediction.path
                truth = find_truth(path, class_count)
                row = GalleryRow(path.stem, prediction.image, prediction.labels, truth)
                rows.append(shrink_row(row))
            stage.advance()
    if gallery is not None:
        draw_gallery(rows, gallery)
    print_result(f"{len(paths)} masks in {output}" + (f", gallery {gallery}" if gallery else ""))


def _list_images(places: list[Path]) -> list[Path]:
    from ..data.images import IMAGE_SUFFIXES

    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            found = sorted(
                path
                for path in place.iterdir()
                # A dot begins what systems keep beside files, such as a Mac's "._a.jpg".
                if path.suffix.lower() in IMAGE_SUFFIXES
                and path.is_file()
                and not path.name.startswith(".")
            )
            if not found:
                raise DataError(f"The folder {place} holds no image. Name image files.")
            paths.extend(found)
        elif place.is_file():
            paths.append(place)
        else:
            raise UsageError(f"No image at {place}. Check the path.")
    return paths


def _plan_outputs(
    paths: list[Path], folder: Path, gallery: Path | None, *, overwrite: bool
) -> dict[Path, str]:
    """Name of each image's mask in `folder`; refuses what would destroy something."""
    if folder.exists() and not folder.is_dir():
        raise OutputInUseError(f"{folder} is not a folder. Choose another --output.")
    inputs = {path.resolve() for path in paths}
    names: dict[Path, str] = {}
    for path in paths:
        name = f"{path.stem}.png"
        if name in names.values():
            raise UsageError(
                f"Two images would write {folder / name}. Predict them into different --output "
                "folders."
            )
        _require_free(folder / name, inputs, "--output", overwrite=overwrite)
        names[path] = name
    if gallery is not None:
        masks = {(folder / name).resolve() for name in names.values()}
        _require_free(gallery, inputs | masks, "--gallery", overwrite=overwrite)
    return names


def _require_free(result: Path, inputs: set[Path], option: str, *, overwrite: bool) -> None:
    if result.resolve() in inputs:
        raise OutputInUseError(
            f"The image or mask {result} would be replaced. Choose another {option}."
        )
    if result.exists() and not overwrite:
        raise OutputInUseError(
            f"{result} exists. Replace it with --overwrite, or choose another {option}."
        )
