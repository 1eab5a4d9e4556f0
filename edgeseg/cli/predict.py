"""edgeseg predict"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, EdgesegError, OutputInUseError, UsageError
from .terminal.console import make_progress, print_json, print_note, print_result
from .terminal.options import AsJson, BundleFolder, Overwrite, RequiredOutput, Threads

if TYPE_CHECKING:
    from edgeseg.targets import Backend

    from ..bundle.bundle import Bundle
    from ..data.gallery import ComparisonRow, GalleryRow
    from ..data.medical.outputs import MaskFile
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
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Format of the masks: png, nifti (of NIfTI and of DICOM series) or dicom-seg (of "
            "DICOM; default: NIfTI for NIfTI, dicom-seg for DICOM, else PNG).",
        ),
    ] = None,
    overwrite: Overwrite = False,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Write the mask of each image, as a PNG of the image's size, or as NIfTI or DICOM.

    PNG masks of two classes hold 0 and 255, others the class index. A DICOM segmentation carries
    the patient's tags of its source.
    """
    from ..bundle.bundle import open_bundle
    from ..data.depth import describe_depth
    from ..data.medical.outputs import areas_of, plan_masks
    from ..data.medical.readers import describe_orientations
    from ..pipeline.predict import origin_of, predict_images
    from ..storage.atomic import adding_files

    if gallery is not None and gallery.suffix.lower() != ".png":
        raise UsageError(f"--gallery {gallery} does not end in .png. Name a PNG file.")
    if compare is not None and gallery is None:
        raise UsageError("--compare is shown in a gallery. Name one with --gallery.")
    opened = open_bundle(bundle)
    opened.check_files()
    _require_other_folder(images, output)
    paths = _list_images(images)
    plans = plan_masks(paths, format_name, opened.inputs.axis)
    _require_outputs(plans, output, gallery, overwrite=overwrite)
    class_count = len(opened.outputs.classes)
    for text in describe_orientations(paths):
        print_note(f"Note: {text}.")
    if (note := describe_depth(paths, opened.inputs)) is not None:
        print_note(f"Note: {note}.")
    progress = make_progress()
    reference = None
    if gallery is not None:
        with progress.stage("load the reference"):
            reference = _open_reference(opened, compare)
    drawing = _Drawing(class_count, opened.outputs.ignore)
    masks: list[dict[str, Any]] = []
    frames = [frame for plan in plans for frame in plan.frames]
    with adding_files(output) as folder, progress.stage("predict", total=len(frames)) as stage:
        predictions = predict_images(opened, frames, threads=threads, reference=reference)
        for plan in plans:
            labels = []
            for prediction in itertools.islice(predictions, len(plan.frames)):
                labels.append(prediction.labels)
                areas = areas_of(prediction.path, prediction.labels, opened.outputs.classes)
                told = {} if areas is None else {"areas_mm2": areas}
                mask = str(output / plan.name)
                masks.append({"image": str(prediction.path), "mask": mask, **told})
                if gallery is not None:
                    drawing.add(prediction)
                stage.advance()
            plan.write(folder, labels, origin_of(opened))
    if gallery is not None:
        drawing.write(gallery, compare.name if compare else "FP32", opened.manifest.target)
    if as_json:
        print_json({"masks": masks, "gallery": str(gallery) if gallery else None})
        return
    count = f"{len(plans)} mask{'s' if len(plans) > 1 else ''}"
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
        from ..data.medical.frames import split_frame

        path, image, labels = prediction.path, prediction.image, prediction.labels
        name = path.stem if split_frame(path)[1] is None else path.name
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
    from ..data.layout import describe_inner, is_picture_file
    from ..data.medical.frames import file_of
    from ..data.medical.readers import describe_left_out, is_shown

    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            found = sorted(
                path
                for path in place.iterdir()
                # A dot begins what systems keep beside files, such as a Mac's "._a.jpg".
                if not path.name.startswith(".") and path.is_file() and is_picture_file(path)
            )
            shown = [path for path in found if is_shown(path)]
            left_out = describe_left_out(place, [path for path in found if path not in shown])
            if not shown:
                told = "".join(f" {text}." for text in left_out)
                raise DataError(f"The folder {place} holds no image.{told} {describe_inner(place)}")
            for text in left_out:
                print_note(f"Note: {text}.")
            paths.extend(shown)
        elif file_of(place).is_file():
            paths.append(place)
        else:
            raise UsageError(f"No image at {place}. Check the path.")
    return paths


def _require_outputs(
    plans: Sequence[MaskFile], folder: Path, gallery: Path | None, *, overwrite: bool
) -> None:
    """Refuse what would destroy something."""
    if folder.exists() and not folder.is_dir():
        raise OutputInUseError(f"{folder} is not a folder. Choose another --output.")
    inputs = {source.resolve() for plan in plans for source in plan.sources}
    names: set[str] = set()
    for plan in plans:
        if plan.name in names:
            raise UsageError(
                f"Two images would write {folder / plan.name}. Predict them into different "
                "--output folders."
            )
        _require_free(folder / plan.name, inputs, "--output", overwrite=overwrite)
        names.add(plan.name)
    if gallery is not None:
        masks = {(folder / name).resolve() for name in names}
        _require_free(gallery, inputs | masks, "--gallery", overwrite=overwrite)


def _require_free(result: Path, inputs: set[Path], option: str, *, overwrite: bool) -> None:
    if result.resolve() in inputs:
        raise OutputInUseError(
            f"The image or mask {result} would be replaced. Choose another {option}."
        )
    if result.exists() and not overwrite:
        raise OutputInUseError(
            f"{result} exists. Replace it with --overwrite, or choose another {option}."
        )
