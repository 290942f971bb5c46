# SPDX-License-Identifier: Apache-2.0
"""torture.py [points] [storm] [KIND]: see points.py for what dies where, storm.py for what dies at random.

With kinds of operations only these, by the death of sluiced alone, until the first failure.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import points  # noqa: E402
import storm  # noqa: E402
from gateway import FULL, SEED, finish, note  # noqa: E402

WORKERS = os.cpu_count() or 2
STORM_S = 20
STORM_FULL_S = 300

wanted = sys.argv[1:] or ["points", "storm"]
note(f"seed {SEED}")
kinds = [word for word in wanted if "." in word]
if "points" in wanted:
    points.torture(FULL, WORKERS)
if kinds:
    points.torture_kinds(kinds, WORKERS)
if "storm" in wanted:
    storm.storm(STORM_FULL_S if FULL else STORM_S)
finish()
