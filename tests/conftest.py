"""Tests run in two processes (`-n 2` in pyproject.toml; `-n 0` for one), each and its children on one thread."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything imports torch, which reads it once
    os.environ.setdefault("OMP_NUM_THREADS", "1")
