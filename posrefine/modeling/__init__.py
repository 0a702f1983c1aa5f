"""The networks: HRNet, DEKR's two heads on it, and PosRefine's context modules between them."""
