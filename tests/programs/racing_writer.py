"""Writes its share of the rows that several writers race for, and says so.

Usage: python -m tests.programs.racing_writer REPOSITORY SEED
"""

from __future__ import annotations

import sys

from feast import FeatureStore

from tests.support.races import share, write_share

if __name__ == "__main__":
    store = FeatureStore(sys.argv[1])
    seed = int(sys.argv[2])
    print("started", flush=True)
    write_share(store, share(seed), seed)
    print("done", flush=True)
