"""Which model names are served, and how they are listed. There is no model behind any of them."""

from bulkrate.sandbox.marks import CREATED, FINGERPRINT, NOTICE
from bulkrate.sandbox.refusals import unknown_model
from bulkrate.sandbox.request import Fields

_WELL_KNOWN = ("sandbox", "gpt-4o-mini", "gpt-4o", "text-embedding-3-small", "*")
"""Listed when any name is served; the star says that others are too."""


class Models:
    def __init__(self, served: tuple[str, ...]) -> None:
        self._served = served

    def check(self, name: str) -> None:
        if self._served and name not in self._served:
            raise unknown_model(name, self._served)

    def listed(self) -> Fields:
        names = self._served or _WELL_KNOWN
        return {"object": "list", "data": [_model(name) for name in names], "sandbox": NOTICE}

    def one(self, name: str) -> Fields:
        self.check(name)
        return _model(name)


def _model(name: str) -> Fields:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": FINGERPRINT}
