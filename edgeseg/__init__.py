"""Edge deployment of small medical-segmentation networks, measured and proved."""

from .api import Bundle, bench, build, distill, evaluate, load, train
from .records import VERSION

__all__ = ["Bundle", "__version__", "bench", "build", "distill", "evaluate", "load", "train"]
__version__ = VERSION
