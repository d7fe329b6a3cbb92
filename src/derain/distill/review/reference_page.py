"""The page on which a person accepts and rejects photographs of a knowledge base."""

from collections.abc import Callable, Mapping
from pathlib import Path

from derain.distill.knowledge.record import Entry, ReviewStatus
from derain.distill.knowledge.store import KnowledgeBase
from derain.distill.review.pictures import reduced_jpeg
from derain.distill.review.references import UNDER_REVIEW, UNKNOWN_TYPE, Catalogue, Filter
from derain.distill.review.server import Answer, Application, BadRequest, Jpeg, LocalServer, Request
from derain.types import RainType

PAGE_SIZE = 60
LARGEST_PAGE = 500
LONGEST_REASON = 200
"""Characters."""


class ReferencePage:
    """Answers what the page asks for."""

    def __init__(self, base: KnowledgeBase) -> None:
        self._catalogue = Catalogue(base)

    def application(self) -> Application:
        """Its routes; the catalogue is read again when the page is loaded."""
        get = {
            "/api/references": self._page,
            "/api/record/{digest}": self._record,
            "/thumbnail/{digest}": self._thumbnail,
            "/picture/{digest}": self._picture,
        }
        post = {"/api/status": self._store_status, "/api/type": self._store_type}
        return Application("references.html", get, post, on_load=self._catalogue.reread)

    def _page(self, request: Request) -> Answer:
        wanted, query = _filter(request.query), request.query
        size = query.get("size", str(PAGE_SIZE))
        if not size.isascii() or not size.isdigit() or not 1 <= int(size) <= LARGEST_PAGE:
            raise BadRequest(f"size {size!r}: wanted 1 to {LARGEST_PAGE}")
        page = self._catalogue.page(wanted, int(size), query.get("after", ""), query.get("until", ""))
        return {
            "entries": [_shown(entry) for entry in page.entries],
            "before": page.before,
            "total": page.total,
            "labels": {each.value: each.label for each in RainType},
            **self._catalogue.counts(wanted),
        }

    def _record(self, request: Request) -> Answer:
        record = self._catalogue.record(request.path["digest"])
        return None if record is None else {name: getattr(record, name) for name in ("path", "caption", "keywords")}

    def _thumbnail(self, request: Request) -> Answer:
        thumbnail = self._catalogue.thumbnail(request.path["digest"])
        return None if thumbnail is None else Jpeg(thumbnail)

    def _picture(self, request: Request) -> Answer:
        record = self._catalogue.record(request.path["digest"])
        return None if record is None else Jpeg(reduced_jpeg(Path(record.path)))

    def _store_status(self, request: Request) -> Answer:
        """Store one click. The query is the page's filter, for the counts."""
        digest, status, reason = (request.body.get(name, "") for name in ("digest", "status", "reason"))
        are_texts = all(isinstance(text, str) for text in (digest, status, reason))
        if not are_texts or status not in set(UNDER_REVIEW):
            raise BadRequest(f"wanted a digest, a reason and a status out of {', '.join(UNDER_REVIEW)}")
        wanted = _filter(request.query)
        before = self._catalogue.set_status(digest, ReviewStatus(status), reason.strip()[:LONGEST_REASON])
        return {"before": _shown(before), **self._catalogue.counts(wanted)}

    def _store_type(self, request: Request) -> Answer:
        digest, rain_type = request.body.get("digest"), request.body.get("type")
        if not isinstance(digest, str) or not isinstance(rain_type, str) or rain_type not in set(RainType):
            raise BadRequest(f"wanted a digest and a type out of {', '.join(RainType)}")
        wanted = _filter(request.query)
        before = self._catalogue.set_type(digest, RainType(rain_type))
        return {"before": _shown(before), **self._catalogue.counts(wanted)}


def open_reference_review(base: KnowledgeBase, host: str = "127.0.0.1", port: int = 8321) -> LocalServer:
    """A server of the page, bound and not yet serving; port 0 takes any that is free.

    Raises:
        DistillError: the port is taken, or the host is not this computer.
    """
    return LocalServer(ReferencePage(base).application(), host, port)


def serve_references(
    base: KnowledgeBase,
    host: str = "127.0.0.1",
    port: int = 8321,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until Ctrl-C; `on_ready` receives its address. Every click is stored at once.

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
        raise BadRequest(f"status {wanted.status!r}: wanted one of {', '.join(ReviewStatus)}")
    if wanted.type and wanted.type not in {*RainType, UNKNOWN_TYPE}:
        raise BadRequest(f"type {wanted.type!r}: wanted one of {', '.join(RainType)}, {UNKNOWN_TYPE}")
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
