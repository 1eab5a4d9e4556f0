import sys
from pathlib import Path

# What lies in the working folder must not be taken for a library; `python -m` puts it first.
if sys.path[:1] == [str(Path.cwd())]:
    del sys.path[0]

from .cli import main

main()
