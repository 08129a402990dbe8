"""One thread and quiet waiting, before torch is loaded: tests share a machine with each other."""

import os

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"
