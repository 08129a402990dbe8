"""Recursions of the linear-chain CRF in NumPy, and the sizes of the networks: shared by `nn` and `runtime`."""
