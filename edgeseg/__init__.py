"""Edge deployment of small medical-segmentation networks, measured and proved."""

__version__ = "0.1.0"
