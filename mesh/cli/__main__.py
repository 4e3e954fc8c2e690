"""`python -m mesh.cli`: the same as `mesh`."""

import sys

from mesh.cli import main

sys.exit(main())
