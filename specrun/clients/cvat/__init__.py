"""CVAT: the wire. Requests by urllib3, uploads by cvat-sdk; nothing here knows what a node is."""
