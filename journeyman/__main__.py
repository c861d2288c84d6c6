"""`python -m journeyman`, the same as the command `journeyman`."""

import sys

from journeyman.cli import main

sys.exit(main())
