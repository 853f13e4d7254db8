"""``python -m aibridge`` is the command ``aibridge``."""

import sys

from .cli import main

sys.exit(main())
