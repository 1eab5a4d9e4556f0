"""DICOM and NIfTI files: as pictures, as masks, and as what a mask is written to."""
