"""cvat_projects: what is made in CVAT, and how it is made once."""
