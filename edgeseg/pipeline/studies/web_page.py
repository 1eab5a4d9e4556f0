"""A kit's page in Chromium beside Python: masks, loading, times, memory and camera.

    python -m edgeseg.pipeline.studies.web_page BUNDLE... --json FILE

Twelve photos as people have them are made from the sample: turned, grey, transparent, CMYK, small,
of twelve million pixels. Each bundle is embedded anew, and its page runs in a browser of its own.
"""

from __future__ import annotations

import argparse
import json
import queue
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ...bundle.bundle import Bundle, open_bundle
from ...data.folder import open_sample
from ...data.images import read_image
from ...embed.browser import browsing, find_browser, serving
from ...embed.embed import embed_bundle
from ...errors import BenchmarkError, EdgesegError, UsageError
from ...storage.atomic import write_text
from ...storage.temporary import temporary_folder
from ..predict import load_bundle, predict_image

SOURCES = Path(__file__).with_name("web")
STUDY = "study"  # folder within the kit
LIMIT_S = 240.0
INFERENCES = 50  # of a block
BLOCKS = 12
FRAMES = 100
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
MEGA = 1e6
ORIENTATION = 0x0112  # of EXIF
STEPS = ("decode", "prepare", "infer", "restore")


@dataclass(frozen=True)
class PageResult:
    """What a page did.

    Attributes:
        name: Of the bundle.
        backend: As the page says it.
        embed_s: Seconds to write and check the kit.
        loaded_mb: What the browser has loaded until the page works offline, 10^6 bytes.
        first_mask_ms: From opening the page to the first mask of a file.
        flips: Pixels of 10,000 that differ from Python's mask, for each photo.
        step_ms: Median milliseconds of each step for photos of at most a million pixels.
        memory_mb: Private memory of the page after each block of inferences, 10^6 bytes.
        camera_fps: Frames a second, of a camera that gives as many as it can.
        frame_ms: Median milliseconds from a frame to its mask.
    """

    name: str
    backend: str
    embed_s: float
    loaded_mb: float
    first_mask_ms: float
    flips: dict[str, float]
    step_ms: dict[str, float]
    memory_mb: list[float]
    camera_fps: float
    frame_ms: float

    @property
    def growth_mb(self) -> float:
        """Least of the second half of the blocks less that of the first: garbage comes and goes."""
        half = len(self.memory_mb) // 2
        return min(self.memory_mb[half:]) - min(self.memory_mb[:half])


def write_photos(folder: Path) -> list[Path]:
    """Twelve photos as people have them."""
    originals = [
        Image.open(pair.image_path).convert("RGB") for pair in list(open_sample(["test"]))[:6]
    ]
    first, second, third, fourth, fifth, sixth = originals
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "plain.jpg": (first, {"quality": 92}),
        "turned.jpg": (second, {"exif": _turned(6), "quality": 90}),
        "upside_down.jpg": (third, {"exif": _turned(3), "quality": 90}),
        "grey.jpg": (ImageOps.grayscale(fourth), {"quality": 90}),
        "cmyk.jpg": (fifth.convert("CMYK"), {"quality": 90}),
        "progressive.jpg": (sixth, {"quality": 40, "progressive": True}),
        "transparent.png": (_faded(first), {}),
        "palette.png": (second.quantize(128), {}),
        "photo.webp": (third, {"quality": 85}),
        "large.jpg": (fourth.resize((4000, 3000)), {"quality": 85}),
        "tall.png": (fifth.resize((97, 613)), {}),
        "tiny.png": (sixth.resize((33, 27)), {}),
    }
    for name, (image, options) in made.items():
        image.save(folder / name, **options)
    return [folder / name for name in made]


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _faded(image: Image.Image) -> Image.Image:
    faded = image.copy()
    faded.putalpha(Image.linear_gradient("L").resize(image.size))
    return faded


def measure_page(bundle: Bundle, packages: Path | None) -> PageResult:
    """Embed a bundle and measure its page.

    Raises:
        UsageError: There is no Chromium.
        BenchmarkError: The page fails, or gives no answer in time.
    """
    browser = find_browser()
    if browser is None:
        raise UsageError("There is no Chromium on the PATH. Install it; Debian has it as chromium.")
    with temporary_folder("page") as folder:
        kit = folder / "kit"
        start = time.perf_counter()
        embed_bundle(bundle.folder, "web", kit, packages=packages)
        embed_s = time.perf_counter() - start
        _write_request(bundle, kit / STUDY)
        with serving(kit) as site:
            address = f"{site.address}{STUDY}/study.html"
            with browsing(browser, address, *CAMERA) as group:
                found = _collect(site.reports, group)
        own = (f"{STUDY}/", "golden/", "test/")
        loaded = sum(count for path, count in site.sent.items() if not path.startswith(own))
    return _result(bundle, found, embed_s, loaded)


def _write_request(bundle: Bundle, folder: Path) -> None:
    """Write the photos and Python's masks of them, for the page to read."""
    folder.mkdir()
    for name in ("study.html", "study.mjs"):
        shutil.copyfile(SOURCES / name, folder / name)
    backend = load_bundle(bundle)
    photos = []
    for path in write_photos(folder):
        image = read_image(path, bundle.inputs)
        labels = predict_image(bundle, backend, image, path.name)
        (folder / f"{path.name}.labels").write_bytes(labels.tobytes())
        photos.append({"file": path.name, "labels": f"{path.name}.labels"})
    request = {"photos": photos, "inferences": INFERENCES, "blocks": BLOCKS, "frames": FRAMES}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")


def _collect(reports: queue.Queue[Any], group: int) -> dict[str, Any]:
    """What the page posts, by its kind; the memory at each of its pauses is added."""
    found: dict[str, Any] = {"megabytes": []}
    end = time.monotonic() + LIMIT_S
    while "end" not in found:
        try:
            report = reports.get(timeout=max(end - time.monotonic(), 0.1))
        except queue.Empty:
            last = [kind for kind in found if kind != "megabytes"]
            raise BenchmarkError(
                f"The page gave no answer in {LIMIT_S:.0f} s, after {last or 'nothing'}. Open the "
                "kit's test/index.html in a browser and look at what it says."
            ) from None
        if report["kind"] == "failed":
            raise BenchmarkError(
                f"The page failed: {report['reason']}. Open the kit's test/index.html in a "
                "browser and look at what it says."
            )
        if report["kind"] == "memory":
            time.sleep(0.5)  # the page waits: what it no longer needs is given back
            found["megabytes"].append(sum(_private_megabytes(group)))
        found[report["kind"]] = report
    return found


def _private_megabytes(group: int) -> Iterator[float]:
    """Memory that each process which shows pages has written to."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" not in (folder / "cmdline").read_bytes():
                continue
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) != group:  # its session
                continue
            text = (folder / "smaps_rollup").read_text()
        except (OSError, IndexError):
            continue
        line = next(line for line in text.splitlines() if line.startswith("Private_Dirty"))
        yield int(line.split()[1]) * 1024 / MEGA


def _result(bundle: Bundle, found: dict[str, Any], embed_s: float, loaded: int) -> PageResult:
    photos, camera = found["photos"], found["camera"]
    small = [one for one in photos["times"] if one["file"] != "large.jpg"]
    return PageResult(
        bundle.manifest.name,
        photos["backend"],
        embed_s,
        loaded / MEGA,
        found["opened"]["first_mask_ms"],
        {one["file"]: one["flips_per_10k"] for one in photos["flips"]},
        {step: statistics.median(one[step] for one in small) for step in STEPS},
        found["megabytes"],
        1000 * (camera["frames"] - 1) / camera["ms"],
        statistics.median(sum(one.values()) for one in camera["times"]),
    )


def rows_of(results: list[PageResult]) -> Iterator[str]:
    """A table in Markdown."""
    columns = "| bundle | loaded, MB | first mask, s | flips in 10,000: mean, worst "
    yield columns + "| decode, prepare, infer, restore in ms | growth, MB | camera, frames/s |"
    yield "|---|---|---|---|---|---|---|"
    for one in results:
        flips = one.flips.values()
        steps = ", ".join(f"{one.step_ms[step]:.1f}" for step in STEPS)
        yield (
            f"| {one.name} ({one.backend}) | {one.loaded_mb:.2f} | {one.first_mask_ms / 1000:.2f} "
            f"| {statistics.mean(flips):.2f}, {max(flips):.2f} | {steps} | {one.growth_mb:+.1f} "
            f"| {one.camera_fps:.1f} ({one.frame_ms:.1f} ms) |"
        )


def main() -> None:
    """Print the table of one or more bundles."""
    parser = argparse.ArgumentParser(prog="python -m edgeseg.pipeline.studies.web_page")
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--packages", type=Path, help="folder node_modules with the web runtimes")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    given = parser.parse_args()
    results = []
    try:
        for folder in given.bundles:
            results.append(measure_page(open_bundle(folder), given.packages))
            print(f"{folder}: done", file=sys.stderr)
    except EdgesegError as error:
        sys.exit(f"Error: {error}")
    print("\n".join(rows_of(results)))
    if given.json:
        write_text(given.json, json.dumps([asdict(one) for one in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
