"""Which images of a data set are not independent: those of one volume, or of one patient, as DICOM
tags or groups.csv tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..metrics.clusters import FILES, MIXED, PATIENTS, VOLUMES, Clusters
from .folder import FolderDataset
from .groups import read_patients
from .medical.frames import file_of
from .medical.patients import patient_keys
from .medical.readers import reader_of

Key = tuple[str, str]  # what is told apart, and which one it is: written nowhere


def clusters_of(dataset: FolderDataset) -> Clusters | None:
    """The clusters of a data set's images; None where each is independent.

    Raises:
        DataError: groups.csv is no such file.
    """
    files = [file_of(pair.image_path) for pair in dataset]
    patients = read_patients(dataset.root, [pair.file_name for pair in dataset])
    keys = cluster_keys(files, patients)
    shared = {key[0] for key, count in Counter(keys).items() if count > 1}
    return Clusters.of_keys(keys, shared.pop() if len(shared) == 1 else MIXED)


def cluster_keys(files: Sequence[Path], patients: Sequence[str]) -> list[Key]:
    """A key for each file, equal for those of one patient.

    Args:
        patients: What groups.csv says of each; empty where it says nothing.
    """
    kinds = {file: getattr(reader_of(file), "kind", None) for file in files}
    dicom = [file for file, kind in kinds.items() if kind == "dicom"]
    found, told = patient_keys(dicom)
    known = {file: (told, key) for file, key in zip(dicom, found, strict=True) if key is not None}
    keys = []
    for file, patient in zip(files, patients, strict=True):
        alone = (VOLUMES if kinds[file] == "nifti" else FILES, str(file))
        keys.append((PATIENTS, f"groups.csv {patient}") if patient else known.get(file, alone))
    return keys
