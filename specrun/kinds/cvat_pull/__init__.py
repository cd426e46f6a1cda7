"""sources.cvat: which tasks of CVAT are wanted and ready, and how their annotations and images come here."""
