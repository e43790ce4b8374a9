"""The page of a model without a run: what it is made of, and the ways into it."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from cutaway.views.architecture import view_stages
from cutaway.web.here import Here, endpoint
from cutaway.web.subject import Subject


def model(here: Here) -> Response:
    """A model as a map of stages that opens into layers."""
    subject = Subject.of(here)
    rows = subject.summary().rows
    return here.page(
        "model.html.j2",
        subject.name,
        subject.crumbs(here),
        subject=subject,
        stages=view_stages(rows),
        parameters=sum(row.parameters for row in rows),
        shape=subject.scope().shape,
        classes=subject.scope().classes,
        data=subject.named.data if subject.named else None,
    )


ROUTES = [Route("/models/{model}", endpoint(model))]
