"""edgeseg predict"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import DataError, EdgesegError, OutputInUseError, UsageError
from .terminal.console import make_progress, print_json, print_note, print_result
from .terminal.options import AsJson, BundleFolder, Overwrite, RequiredOutput, Threads

if TYPE_CHECKING:
    from edgeseg.targets import Backend

    from ..bundle.bundle import Bundle
    from ..data.gallery import ComparisonRow, GalleryRow
    from ..pipeline.predict import Prediction


def predict(
    bundle: BundleFolder,
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    output: RequiredOutput,
    gallery: Annotated[
        Path | None,
        typer.Option(help="PNG file to draw images, masks and their differences in."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(
            help="Bundle to compare with in the gallery (default: the FP32 reference, where the "
            "bundle has its source and PyTorch is installed)."
        ),
    ] = None,
    overwrite: Overwrite = False,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Write the mask of each image, as a PNG of the image's size.

    Masks of two classes hold 0 and 255, others the class index.
    """
    from ..bundle.bundle import open_bundle
    from ..data.depth import describe_depth
    from ..data.gallery import write_mask
    from ..pipeline.predict import predict_images
    from ..storage.atomic import adding_files

    if gallery is not None and gallery.suffix.lower() != ".png":
        raise UsageError(f"--gallery {gallery} does not end in .png. Name a PNG file.")
    if compare is not None and gallery is None:
        raise UsageError("--compare is shown in a gallery. Name one with --gallery.")
    opened = open_bundle(bundle)
    opened.check_files()
    _require_other_folder(images, output)
    paths = _list_images(images)
    names = _plan_outputs(paths, output, gallery, overwrite=overwrite)
    class_count = len(opened.outputs.classes)
    if (note := describe_depth(paths, opened.inputs)) is not None:
        print_note(f"Note: {note}.")
    progress = make_progress()
    reference = None
    if gallery is not None:
        with progress.stage("load the reference"):
            reference = _open_reference(opened, compare)
    drawing = _Drawing(class_count, opened.outputs.ignore)
    with adding_files(output) as folder, progress.stage("predict", total=len(paths)) as stage:
        predictions = predict_images(opened, paths, threads=threads, reference=reference)
        for prediction in predictions:
            write_mask(folder / names[prediction.path], prediction.labels, class_count)
            if gallery is not None:
                drawing.add(prediction)
            stage.advance()
    if gallery is not None:
        drawing.write(gallery, compare.name if compare else "FP32", opened.manifest.target)
    if as_json:
        masks = [{"image": str(path), "mask": str(output / names[path])} for path in paths]
        print_json({"masks": masks, "gallery": str(gallery) if gallery else None})
        return
    count = f"{len(paths)} mask{'s' if len(paths) > 1 else ''}"
    print_result(f"{count} in {output}" + (f", gallery {gallery}" if gallery else ""))


def _open_reference(bundle: Bundle, compare: Path | None) -> tuple[Bundle, Backend] | None:
    """What the masks are compared with; None where there is no FP32 reference.

    Raises:
        UsageError: The other bundle has other classes.
    """
    from ..bundle.bundle import open_bundle
    from ..pipeline.predict import load_bundle, load_reference

    if compare is None:
        try:
            return bundle, load_reference(bundle)
        except EdgesegError as error:
            print_note(f"The gallery shows no FP32 reference: {error}")
            return None
    other = open_bundle(compare)
    other.check_files()
    if other.outputs.classes != bundle.outputs.classes:
        raise UsageError(
            f"{compare} finds {', '.join(other.outputs.classes)}, {bundle.folder} "
            f"{', '.join(bundle.outputs.classes)}. Compare bundles of the same classes."
        )
    return other, load_bundle(other)


class _Drawing:
    """Lines of a gallery, kept at the size that they are drawn in."""

    def __init__(self, class_count: int, ignore: int | None) -> None:
        self.class_count = class_count
        self.ignore = ignore
        self.plain: list[GalleryRow] = []
        self.compared: list[ComparisonRow] = []

    def add(self, prediction: Prediction) -> None:
        from ..data.gallery import GalleryRow, compare_masks, find_truth, shrink_row

        name, image, labels = prediction.path.stem, prediction.image, prediction.labels
        truth = find_truth(prediction.path, self.class_count, self.ignore)
        if prediction.reference is None:
            self.plain.append(shrink_row(GalleryRow(name, image, labels, truth)))
        else:
            self.compared.append(compare_masks(name, image, prediction.reference, labels, truth))

    def write(self, path: Path, reference: str, device: str) -> None:
        from ..data.gallery import draw_comparison, draw_gallery

        if self.compared:
            draw_comparison(self.compared, path, reference=reference, device=device)
        else:
            draw_gallery(self.plain, path)


def _require_other_folder(places: list[Path], output: Path) -> None:
    for place in places:
        if place.is_dir() and place.resolve() == output.resolve():
            raise OutputInUseError(
                f"{output} is the folder of the images: masks in it would count as images from "
                "then on. Choose another --output."
            )


def _list_images(places: list[Path]) -> list[Path]:
    from ..data.decoding import IMAGE_SUFFIXES

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
