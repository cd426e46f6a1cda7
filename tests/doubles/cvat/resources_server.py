"""`/api/server` and `/api/schema/`."""

from __future__ import annotations

from tests.doubles.cvat import formats
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.wire import Answer, Call


def about(server: Server, call: Call) -> Answer:
    return Answer(
        200,
        {
            "name": "Computer Vision Annotation Tool",
            "description": "A double of a CVAT server, for tests.",
            "version": server.version,
            "logo_url": f"{call.base_url}/static/logo.svg",
            "subtitle": "Open Data Annotation Platform",
        },
    )


def annotation_formats(server: Server, call: Call) -> Answer:
    told = {"importers": formats.described(formats.IMPORTERS), "exporters": formats.described(formats.EXPORTERS)}
    return Answer(200, told)


def plugins(server: Server, call: Call) -> Answer:
    return Answer(200, {"GIT_INTEGRATION": False, "ANALYTICS": False, "MODELS": False, "PREDICT": False})
