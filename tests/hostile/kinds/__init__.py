"""The kinds of hostile inputs: a class each, whose `make(random)` gives the action to try."""

from __future__ import annotations

from edgeseg.lazy import is_installed

from .bundles import CacheEntries, Golden, Journals, Manifests, Onnx, Plans, Runners, Tunings
from .files import Checkpoints, Folders, Images, Masks
from .graphs import Graphs
from .releases import Keys, MonaiBundles, Signatures
from .words import Arguments, Calls, Specs

MEDICAL = ("pydicom", "highdicom", "nibabel")

KINDS = {
    "images": Images,
    "masks": Masks,
    "folders": Folders,
    "checkpoints": Checkpoints,
    "specs": Specs,
    "manifests": Manifests,
    "runners": Runners,
    "golden": Golden,
    "plans": Plans,
    "tunings": Tunings,
    "journals": Journals,
    "onnx": Onnx,
    "graphs": Graphs,
    "cache": CacheEntries,
    "arguments": Arguments,
    "calls": Calls,
    "signatures": Signatures,
    "keys": Keys,
    "monai": MonaiBundles,
}
# Inputs of each kind in a run of 11,000.
SHARES = {
    "images": 1_800,
    "masks": 800,
    "folders": 400,
    "checkpoints": 1_000,
    "specs": 700,
    "manifests": 1_000,
    "runners": 400,
    "golden": 400,
    "plans": 700,
    "tunings": 400,
    "journals": 300,
    "onnx": 300,
    "graphs": 700,
    "cache": 300,
    "arguments": 600,
    "calls": 200,
    "signatures": 400,
    "keys": 300,
    "monai": 300,
}
if all(map(is_installed, MEDICAL)):
    from .medical import Dicoms, Niftis

    KINDS |= {"dicoms": Dicoms, "niftis": Niftis}
    SHARES |= {"dicoms": 1_400, "niftis": 600}
