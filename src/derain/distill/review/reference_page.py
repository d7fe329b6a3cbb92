"""The page on which a person accepts and rejects photographs of a knowledge base."""

from collections.abc import Callable, Mapping
from pathlib import Path

from derain.distill.knowledge.record import Entry, ReviewStatus
from derain.distill.review.pictures import reduced_jpeg
from derain.distill.review.references import UNDER_REVIEW, UNKNOWN_TYPE, Catalogue, Filter, ReferenceBase
from derain.distill.review.server import LocalServer, Refused, Request, Response, json_response, page_file
from derain.types import RainType

PAGE_SIZE = 60
LARGEST_PAGE = 500
LONGEST_REASON = 200
"""Characters."""


class ReferencePage:
    """Answers what the page asks for."""

    def __init__(self, base: ReferenceBase) -> None:
        self._catalogue = Catalogue(base)

    def answer(self, request: Request) -> Response | None:
        """See `server.Application`."""
        if request.body is not None:
            return self._store(request, request.body)
        match request.path.split("/")[1:]:
            case [""]:
                self._catalogue.reread()  # whoever reloads the page wants to see what is there now
                return page_file("references.html")
            case ["static", name]:
                return page_file(name)
            case ["api", "references"]:
                return self._page(request.query)
            case ["api", "record", digest]:
                return self._record(digest)
            case ["thumbnail", digest]:
                thumbnail = self._catalogue.thumbnail(digest)
                return None if thumbnail is None else Response(thumbnail, "image/jpeg", lasting=True)
            case ["picture", digest]:
                return self._picture(digest)
        return None

    def _page(self, query: Mapping[str, str]) -> Response:
        wanted = _filter(query)
        size = query.get("size", str(PAGE_SIZE))
        if not size.isascii() or not size.isdigit() or not 1 <= int(size) <= LARGEST_PAGE:
            raise Refused(f"size {size!r}: wanted 1 to {LARGEST_PAGE}")
        page = self._catalogue.page(wanted, int(size), query.get("after", ""), query.get("until", ""))
        return json_response(
            {
                "entries": [_shown(entry) for entry in page.entries],
                "before": page.before,
                "total": page.total,
                "labels": {each.value: each.label for each in RainType},
                **self._counts(wanted),
            }
        )

    def _record(self, digest: str) -> Response | None:
        record = self._catalogue.record(digest)
        if record is None:
            return None
        return json_response(
            {
                "path": record.path,
                "caption": record.caption,
                "keywords": list(record.keywords),
                "light": record.light,
            }
        )

    def _picture(self, digest: str) -> Response | None:
        record = self._catalogue.record(digest)
        if record is None:
            return None
        return Response(reduced_jpeg(Path(record.path)), "image/jpeg", lasting=True)

    def _store(self, request: Request, body: Mapping[str, object]) -> Response | None:
        """Store one click. The query says what the page shows, and so what is counted."""
        wanted = _filter(request.query)
        match request.path:
            case "/api/status":
                before = self._store_status(body)
            case "/api/type":
                before = self._store_type(body)
            case _:
                return None
        return json_response({"before": _shown(before), **self._counts(wanted)})

    def _store_status(self, body: Mapping[str, object]) -> Entry:
        digest, status, reason = body.get("digest"), body.get("status"), body.get("reason", "")
        are_texts = isinstance(digest, str) and isinstance(reason, str) and isinstance(status, str)
        if not are_texts or status not in set(UNDER_REVIEW):
            raise Refused(f"wanted a digest, a reason and a status out of {', '.join(UNDER_REVIEW)}")
        return self._catalogue.set_status(str(digest), ReviewStatus(str(status)), str(reason).strip()[:LONGEST_REASON])

    def _store_type(self, body: Mapping[str, object]) -> Entry:
        digest, rain_type = body.get("digest"), body.get("type")
        if not isinstance(digest, str) or not isinstance(rain_type, str) or rain_type not in set(RainType):
            raise Refused(f"wanted a digest and a type out of {', '.join(RainType)}")
        return self._catalogue.set_type(digest, RainType(rain_type))

    def _counts(self, wanted: Filter) -> dict[str, object]:
        counts = self._catalogue.counts(wanted)
        return {"types": counts.types, "statuses": counts.statuses}


def open_reference_review(base: ReferenceBase, host: str = "127.0.0.1", port: int = 8321) -> LocalServer:
    """A server of the page, bound and not yet serving; port 0 takes any that is free.

    Raises:
        DistillError: the port is taken, or the host is not this computer.
    """
    return LocalServer(ReferencePage(base), host, port)


def serve_references(
    base: ReferenceBase,
    host: str = "127.0.0.1",
    port: int = 8321,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until Ctrl-C; `on_ready` is told its address. Every click is stored at once.

    Raises:
        DistillError: the port is taken, or the host is not this computer.
    """
    server = open_reference_review(base, host, port)
    if on_ready is not None:
        on_ready(server.url)
    server.serve_until_interrupted()


def _filter(query: Mapping[str, str]) -> Filter:
    wanted = Filter(query.get("type", ""), query.get("status", ""))
    if wanted.status and wanted.status not in set(ReviewStatus):
        raise Refused(f"status {wanted.status!r}: wanted one of {', '.join(ReviewStatus)}")
    if wanted.type and wanted.type not in {*RainType, UNKNOWN_TYPE}:
        raise Refused(f"type {wanted.type!r}: wanted one of {', '.join(RainType)}, {UNKNOWN_TYPE}")
    return wanted


def _shown(entry: Entry) -> dict[str, object]:
    return {
        "digest": entry.digest,
        "name": Path(entry.path).name,
        "source": entry.source,
        "type": entry.type,
        "light": entry.light,
        "status": entry.status.value,
        "reason": entry.reason,
        "quality": round(entry.quality, 3),
        "width": entry.width,
        "height": entry.height,
    }
