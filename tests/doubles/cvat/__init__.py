"""A CVAT server for tests: real HTTP on loopback, with state."""
