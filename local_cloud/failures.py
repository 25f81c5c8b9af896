"""How a plane's failure reaches the client: as AWS's own failures do, with a code, a message and status 500."""

from __future__ import annotations

import html
import json
import logging
from collections.abc import Callable
from typing import Any

import flask
import werkzeug.exceptions

log = logging.getLogger(__name__)
XML = "<ErrorResponse><Error><Code>InternalFailure</Code><Message>{}</Message></Error></ErrorResponse>"
XML_OF_EC2 = "<Response><Errors><Error><Code>InternalError</Code><Message>{}</Message></Error></Errors></Response>"


def answering(create: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """moto's maker of a service's application, of which the application answers a plane's exception instead of a page of HTML."""

    def made(service: Any) -> Any:
        application = create(service)

        @application.errorhandler(Exception)
        def failed(error: Exception) -> Any:
            if isinstance(error, werkzeug.exceptions.HTTPException):
                return error.get_response()
            log.exception("%s failed", service)
            text = f"{type(error).__name__}: {error}"
            if "json" in flask.request.headers.get("Content-Type", ""):
                return flask.Response(json.dumps({"__type": "InternalFailure", "message": text}), 500, content_type="application/x-amz-json-1.1")
            return flask.Response((XML_OF_EC2 if service == "ec2" else XML).format(html.escape(text)), 500, content_type="text/xml")

        return application

    return made
