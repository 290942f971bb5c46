# SPDX-License-Identifier: Apache-2.0
"""torture.py [points|storm]: see points.py for what dies where, storm.py for what dies at random."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import points  # noqa: E402
import storm  # noqa: E402
from gateway import FULL, SEED, finish, note  # noqa: E402

STORM_S = 20
STORM_FULL_S = 300

wanted = sys.argv[1:] or ["points", "storm"]
note(f"seed {SEED}")
if "points" in wanted:
    points.torture(FULL, os.cpu_count() or 2)
if "storm" in wanted:
    storm.storm(STORM_FULL_S if FULL else STORM_S)
finish()
