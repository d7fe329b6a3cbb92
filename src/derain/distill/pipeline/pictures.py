"""Pictures as the stages read them: each once while it is needed, and none that has changed since it was prepared."""

from collections import OrderedDict
from pathlib import Path

from derain.backends.view import View, read_view
from derain.errors import ImageError

HELD_BYTES = 512 << 20
"""Of pictures that are kept for the next stage."""

BYTES_PER_VALUE = 5
"""Of a picture that is held: its 8-bit pixels, and the same as float32 once a stage has asked for them."""


class Pictures:
    """The last pictures that were read, as many as there is room for."""

    def __init__(self, held_bytes: int = HELD_BYTES) -> None:
        self._held: OrderedDict[str, View] = OrderedDict()
        self._bytes = 0
        self._most = held_bytes

    def read(self, path: str, digest: str) -> View:
        """The picture of this digest.

        Raises:
            ImageError: the file is not there, broken, or another one by now.
        """
        view = self._held.get(digest)
        if view is not None:
            self._held.move_to_end(digest)
            return view
        view = read_view(Path(path))
        if view.digest != digest:
            raise ImageError(f"{path}: is not the picture that was there before; put that back, or begin afresh")
        self._held[digest] = view
        self._bytes += BYTES_PER_VALUE * view.pixels.nbytes
        while self._bytes > self._most and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= BYTES_PER_VALUE * oldest.pixels.nbytes
        return view
